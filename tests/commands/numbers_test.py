"""Every number that a user can give is read, or refused in one line, at once."""

import pytest
from absl import flags

from spade_jax import main
from spade_jax.config import label_format
from spade_jax.config.config import Config
from spade_jax.config.flags import config_from_flags
from spade_jax.distributed import processes
from spade_jax.errors import UserError
from spade_jax.sampling import sizes, styles
from tests.fixtures.cli import parsed_flags, refusal, run_inline
from tests.fixtures.time_limit import time_limit

DIGITS = '9' * 5000
HUGE = [str(2**63), '1' + '0' * 400, '1' + '0' * 4000, DIGITS, '1e300', '1e400', 'inf', '-inf']
ODD = ['', '0', '-1', str(2**31), '1e-320', 'nan', '²', '٣', '1_0', '0x10', ' 7 ']
CONFIG = Config.create()


def is_numeric(name):
    return flags.FLAGS[name].flag_type() in ('int', 'float')


def own_flags():
    """The numeric flags of each mode that are no options, with the mode."""
    for mode, command in main.COMMANDS.items():
        for flag in command.FLAGS:
            if is_numeric(flag.name):
                yield mode, flag.name


def options():
    """The numeric options of Config, which every mode parses alike."""
    return [('train', name) for name in CONFIG.options() if is_numeric(name)]


def read(mode, name, value):
    """The Config of a command line; UserError or SystemExit if it is refused."""
    with time_limit(5), parsed_flags(f'--mode={mode}', f'--{name}={value}') as values:
        return config_from_flags(values)


def is_refused(mode, name, value):
    try:
        read(mode, name, value)
    except UserError as error:
        assert '\n' not in str(error)
    except SystemExit as end:
        assert end.code == 2
    else:
        return False
    return True


@pytest.fixture(autouse=True)
def no_output(capsys):
    yield
    assert all(len(line) < 500 for line in capsys.readouterr().err.splitlines())


@pytest.mark.parametrize('mode, name', sorted({*options(), *own_flags()}))
def test_numeric_flags_are_bounded(mode, name):
    for value in ODD:
        is_refused(mode, name, value)
    for value in HUGE:
        if name == 'truncation':  # Checked with the other flags of styles.
            with pytest.raises(UserError):
                styles.check_truncation(float(value))
        elif flags.FLAGS[name].flag_type() == 'int' or float(value) > 1e30:
            assert is_refused(mode, name, value), value


def test_loop_sees_the_flags():
    assert {('train', 'batch_size'), ('train', 'adam_beta1'), ('train', 'seed')} <= {*options()}
    own = {('train', 'num_processes'), ('sample', 'num_samples'), ('memory', 'memory_devices')}
    assert own <= {*own_flags()}


def test_time_limit_ends_an_endless_loop():
    with pytest.raises(TimeoutError), time_limit(0.01):
        while True:
            pass


@pytest.mark.parametrize('value', [*HUGE, *ODD])
def test_numbers_in_texts_are_read_or_refused(value):
    remap = f'0-{value}:255,7:{value}'
    texts = [dict(generator_multipliers=f'2,{value}'), dict(profile_steps=f'1-{value}')]
    texts += [dict(label_remap=remap), dict(label_remap=f'*:{value}')]
    with time_limit(5):
        for options in texts:
            try:
                Config.create(**options)
            except UserError as error:
                assert '\n' not in str(error)
        for size in (f'{value}x256', f'256x{value}'):
            with pytest.raises(UserError):
                sizes.parse_size(size, CONFIG)
        environments = [{'OMPI_COMM_WORLD_SIZE': value}]
        environments += [{'SLURM_STEP_NODELIST': 'n1', 'SLURM_NTASKS': value}]
        for environment in environments:
            try:
                processes.started_by_a_cluster(environment)
            except UserError as error:
                assert '\n' not in str(error)


@pytest.mark.parametrize('flag', ['memory_batch_sizes', 'memory_widths'])
def test_lists_of_numbers_are_bounded(flag):
    for value in [*HUGE, '0', '-1', 'nan', '²', str(2**31)]:
        with time_limit(5):
            assert flag in refusal('--mode=memory', f'--{flag}=1,{value}')


def test_long_list_of_blocks_is_refused():
    with pytest.raises(UserError, match='generator_multipliers has 5000 blocks; use at most 14'):
        Config.create(generator_multipliers=','.join(['1'] * 5000))


def test_long_numbers_are_cut_in_errors():
    result = run_inline(f'--batch_size={DIGITS}')
    assert result.status == 2
    assert 'flag --batch_size=99999' in result.stderr
    assert len(result.stderr) < 300


def test_palette_with_a_long_number_is_refused(tmp_path):
    (tmp_path / 'palette.json').write_text(f'[{{"name": "sky", "id": {DIGITS}}}]')
    with pytest.raises(UserError, match='palette.json cannot be read'):
        label_format.read_palette(str(tmp_path / 'palette.json'))
