"""Scores of the current weights during training."""

from __future__ import annotations

import functools
import tempfile

from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import EvenlySpaced, LabelsOfSource
from spade_jax.errors import UserError
from spade_jax.evaluation import results, run_data
from spade_jax.evaluation.comparison import Comparison
from spade_jax.evaluation.scores import SCORES, parse_names
from spade_jax.sampling import TrainedGenerator
from spade_jax.sampling.jitted import BATCH_SIZE
from spade_jax.training.session import TrainingData


class Evaluator:
    """Samples label maps of the validation set, always the same, and scores the images.

    Raises:
      UserError: On construction, when there is no validation set, or a score lacks something.
    """

    def __init__(self, config: Config, data: TrainingData):
        if data.validation is None:
            problem = f'evaluate_every={config.evaluation.evaluate_every} without a validation set'
            flags = '--validation_image_dir and --validation_label_dir'
            if config.data.dataset == 'tfds':
                flags = '--tfds_validation_split'
            raise UserError(problem, f'set {flags}, or use --evaluate_every=0')
        names = parse_names(config.evaluation.evaluate)
        rule = config.evaluation.style_rule
        run_data.check_styles(config.model, rule, names)
        if config.model.feature_table and (rule != 'photo' or 'lpips_diversity' in names):
            problem = 'evaluate_every needs random styles, whose clusters come after the training'
            remedy = 'use --style_rule=photo without lpips_diversity, or --mode=evaluate'
            raise UserError(problem, remedy)
        maps = LabelsOfSource(data.validation, config.data)
        most = config.evaluation.evaluate_examples or len(maps.names)
        unusable = data.skipped.reasons.keys() | run_data.unusable(data.validation, config)
        self._config, self._maps = config, EvenlySpaced(maps, most, unusable)
        sides = run_data.sides_of(config, self._maps)
        self._comparison = Comparison(sides, config.evaluation, names)
        results.prepare(self._comparison)

    def __call__(self, generator: TrainedGenerator) -> dict[str, float]:
        """The scores by name."""
        with tempfile.TemporaryDirectory(prefix='spade_jax_evaluation_') as directory:
            sample = functools.partial(
                run_data.sample_images,
                generator,
                self._maps,
                directory,
                batch_size=BATCH_SIZE,
                is_temporary=True,
            )
            rule, seed = self._config.evaluation.style_rule, self._config.run.seed
            has_styles = generator.latent_dim is not None
            restyled = functools.partial(sample, style_rule='random') if has_styles else None
            self._comparison.set_images(sample(style_rule=rule, seed=seed), restyled)
            scores = results.score_all(self._comparison)
        return results.finite_values(scores)


def scores_of(config: Config) -> dict[str, str]:
    """The scores that training logs, and whether 'lower' or 'higher' is better.

    Raises:
      UserError: A name is no score, or --keep_best names a score that is not computed.
    """
    evaluation, best = config.evaluation, config.run.keep_best
    names = parse_names(evaluation.evaluate) if evaluation.evaluate_every else []
    if best in SCORES and best not in names:
        remedy = f'add --evaluate_every=N and --evaluate={best}'
        raise UserError(f'keep_best={best} is a score that this run does not compute', remedy)
    return {name: SCORES[name].is_better for name in names}
