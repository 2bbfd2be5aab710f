"""A trace of some steps, for Perfetto and XProf."""

import os
from collections.abc import Callable
from typing import Any, Self

import jax

from spade_jax.config.option import parse_step_range
from spade_jax.errors import UserError
from spade_jax.files.writable import check_writable


class StepProfiler:
    """Records the steps of `profile_steps` to <workdir>/profile: what host and devices do when.

    As a context manager it writes the trace of a run that ends within the range, too.
    """

    def __init__(self, workdir: str, steps: str, first_step: int, last_step: int):
        """Prepare the recording.

        Args:
          workdir: Of the run.
          steps: 'FIRST-LAST', or '' for no trace. Steps that are done already are left out.
          first_step: Number of steps that are done.
          last_step: The last step of this run.

        Raises:
          UserError: The run ends before the range begins, or the trace cannot be written.
        """
        self._directory = os.path.join(workdir, 'profile')
        self._range, self._tracing = range(0), False
        if steps:
            first, last = parse_step_range('profile_steps', steps)
            if first > last_step:
                raise UserError(
                    f'profile_steps={steps} begins after the last step of the run, {last_step}',
                    f'use a range up to {last_step}',
                )
            if last <= first_step:
                print(f'No trace: profile_steps={steps} are done already.')
            check_writable([self._directory])
            self._range = range(max(first, first_step + 1), min(last, last_step) + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
            print(f'\nTrace of the steps {self._range[0]} to {self._range[-1]}: {self._directory}')

    def run(self, step: int, train_step: Callable[..., tuple[Any, Any]], *arguments) -> Any:
        """The (state, metrics) of a train step, which is recorded if it is in the range."""
        if step not in self._range:
            return train_step(*arguments)
        if not self._tracing:
            jax.profiler.start_trace(self._directory, create_perfetto_trace=True)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation('train', step_num=step):
            state, metrics = train_step(*arguments)
        if step == self._range[-1]:
            jax.block_until_ready(metrics)  # The devices run behind the host.
            self.__exit__()
        return state, metrics
