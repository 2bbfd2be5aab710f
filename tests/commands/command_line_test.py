import importlib
import os
import re
import subprocess
import sys

import pytest

import spade_jax
from spade_jax import main
from spade_jax.errors import UserError
from tests import program
from tests.fixtures.cli import parsed_flags, refusal, run_inline, succeed_inline


def test_help_lists_modes():
    text = succeed_inline('--help')
    for mode in main.COMMANDS:
        assert f'  {mode} ' in text
    assert '--mode=MODE --help' in text


@pytest.mark.parametrize('mode', main.COMMANDS)
def test_help_of_mode_has_its_flags_in_groups(mode):
    command = main.COMMANDS[mode]
    text = succeed_inline(f'--mode={mode}', '--help=all')
    assert text.startswith(f'--mode={mode}: {(command.__doc__ or "").splitlines()[0]}')
    positions = [text.index(f'Options: {section}:') for section in command.SECTIONS]
    assert positions == sorted(positions)
    own = text[: min([len(text), *positions])]
    for flag in command.FLAGS:
        assert f'  --{flag.name}' in own or f'  --[no]{flag.name}' in own


@pytest.mark.parametrize('mode', main.COMMANDS)
def test_help_of_mode_begins_with_few_flags(mode):
    text, full = (succeed_inline(f'--mode={mode}', flag) for flag in ('--help', '--help=all'))
    entries = [line for line in text.splitlines() if line.startswith('  --')]
    every = [line for line in full.splitlines() if line.startswith('  --')]
    assert 1 <= len(entries) <= 14
    assert set(entries) <= set(every)
    assert (f'--mode={mode} --help=all lists all {len(every)} flags' in text) == (entries != every)


def test_help_names_builtin_palettes():
    tables = sorted((program.ROOT / 'spade_jax' / 'data' / 'classes').glob('*.json'))
    for mode in ('train', 'sample', 'validate_data'):
        text = ' '.join(succeed_inline(f'--mode={mode}', '--help').split())
        assert f'built-in table: {", ".join(path.stem for path in tables)}.' in text


def test_version_is_printed():
    assert succeed_inline('--version') == f'spade-jax {spade_jax.__version__}\n'


def test_package_is_the_program():
    module = importlib.import_module('spade_jax.__main__')
    assert module.run is main.run


def test_a_word_beside_help_is_refused():
    assert 'train is not a flag; write --name=value' in refusal('train', '--help')


def test_help_of_training_has_options_but_no_flags_of_sampling():
    text = succeed_inline('--mode=train', '--help=all')
    for flag in ('--dataset=', '--generator_width', '--gan_loss=', '--ema_decay', '--seed'):
        assert f'  {flag}' in text
    assert '--label_dir' not in text


def test_help_of_sampling_has_its_own_defaults():
    text = ' '.join(succeed_inline('--mode=sample', '--help').split())
    assert '--batch_size Label maps sampled together. (default: 8) ' in text
    assert text.count('(default: 8)') == 1


def test_help_lines_fit_on_the_screen():
    text = succeed_inline('--mode=train', '--help=all')
    descriptions = [line for line in text.splitlines() if line.startswith('      ')]
    assert len(descriptions) > 80
    assert max(map(len, descriptions)) <= 100


def test_help_names_no_default_number_of_classes():
    text = succeed_inline('--mode=train', '--help')
    entry = ' '.join(text[text.index('--num_classes') :].split('\n  --')[0].split())
    assert 'folders and tfds need it' in entry
    assert '(default' not in entry


def test_help_imports_nothing_heavy():
    script = """if True:
        import sys
        from spade_jax import main
        try:
            main.parse_flags(['spade-jax', '--mode=sample', '--help'])
        except SystemExit:
            heavy = ('jax', 'tensorflow', 'flax', 'orbax', 'numpy', 'PIL')
            sys.exit(str([name for name in heavy if name in sys.modules]))
    """
    result = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, cwd=program.ROOT
    )
    assert '--label_dir' in result.stdout
    assert result.stderr.strip() == '[]'


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--label_dir=x'], '--label_dir has no effect with --mode=train; it is a flag of --mode='),
        (['--nogallery'], '--nogallery has no effect with --mode=train'),
        (['--mode=sample', '--memory_devices=2'], 'it is a flag of --mode=memory'),
        (
            ['--mode=train', '--weights=ema'],
            'it is a flag of --mode=sample and --mode=evaluate and',
        ),
        (['--gan_loss=hinges'], 'flag --gan_loss=hinges: value should be one of <hinge|'),
        (['--mode=draw'], 'flag --mode=draw: value should be one of <train|sample|'),
        (['--no_such_flag=1'], "Unknown command line flag 'no_such_flag'"),
        (['--batch_size=many'], 'flag --batch_size=many'),
        (['--workdir=x', 'surplus'], 'surplus is not a flag; write --name=value'),
        (['--flagfile=nowhere'], 'flagfile=nowhere: no such file; give a file, or one of the'),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    assert message in refusal(*flags)


@pytest.mark.parametrize(
    'flag, words',
    [
        ('--batch_size=1e9', 'flag --batch_size=1e9 is not an integer; write --batch_size=8'),
        ('--batch_size=', 'flag --batch_size= is not an integer; write --batch_size=8'),
        (
            '--learning_rate=1,5',
            'flag --learning_rate=1,5 is not a number; write --learning_rate=0.',
        ),
        (
            '--dontcare=maybe',
            'flag --dontcare=maybe is not true or false; write --dontcare or --no',
        ),
    ],
)
def test_bad_values_are_refused_in_words_of_this_program(flag, words):
    assert words in refusal(flag)
    name, _, value = flag[2:].partition('=')
    with pytest.raises(UserError, match=re.escape(words)):
        spade_jax.configure(**{name: value})


def test_bounds_of_a_number_are_named():
    expected = 'flag --num_processes=0 is not an integer in the range [1, 65536]; write'
    assert expected in refusal('--num_processes=0')


@pytest.mark.parametrize('value', ['1_000', ' 1000 ', '١٠٠٠', '0x3e8'])
def test_other_ways_to_write_an_integer_are_read(value):
    with parsed_flags(f'--batch_size={value}') as values:
        assert values.batch_size == 1000


def test_flagfile_may_have_flags_of_other_modes(tmp_path):
    (tmp_path / 'shared.flags').write_text('--label_dir=labels\n--memory_devices=2\n--workdir=x\n')
    with parsed_flags(f'--flagfile={tmp_path}/shared.flags', '--mode=memory') as values:
        assert values.label_dir == 'labels'
        assert values.workdir == 'x'


@pytest.mark.parametrize('mode', main.COMMANDS)
def test_options_of_config_and_workdir_are_allowed_in_every_mode(mode):
    with parsed_flags(f'--mode={mode}', '--workdir=x', '--seed=4', '--nodontcare') as values:
        assert values.seed == 4


def test_packaged_flagfile_has_a_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with parsed_flags('--flagfile=quickstart') as values:
        assert values.workdir == 'runs/quickstart'
        assert values.crop_size == 64
    (tmp_path / 'quickstart').write_text('--workdir=mine\n')
    with parsed_flags('--flagfile=quickstart') as values:
        assert values.workdir == 'mine'


def test_flagfiles_name_flagfiles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.flags').write_text('# Mine.\n\n--flagfile=ade20k\n--batch_size=5\n')
    with parsed_flags('--flagfile', 'mine.flags', '--crop_size=128') as values:
        assert (values.dataset, values.batch_size, values.crop_size) == ('ade20k', 5, 128)
    (tmp_path / 'ade20k').mkdir()  # A directory, of data, is no flagfile.
    with parsed_flags('--flagfile=ade20k') as values:
        assert values.batch_size == 32


def test_flags_override_flagfiles_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.flags').write_text('--seed=3\n--flagfile=quickstart\n--batch_size=5\n')
    given = '--workdir', 'runs/mine', '--batch_size=6', '--flagfile=mine.flags'
    with parsed_flags(*given) as values:
        assert (values.workdir, values.batch_size, values.seed) == ('runs/mine', 6, 3)
        assert values.crop_size == 64


@pytest.mark.parametrize(
    'content, message',
    [
        (b'--flagfile=loop', 'flagfile=loop includes itself; remove that line'),
        (b'\xff\xfea', 'flagfile=loop cannot be read'),  # Half a character of UTF-16.
        (b'--flagfile=gone', 'flagfile=gone: no such file; give a file, or one of the package'),
        (b'batch_size=5', 'batch_size=5 is not a flag'),
    ],
)
def test_bad_flagfiles_are_refused(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'loop').write_bytes(content)
    assert message in refusal('--flagfile=loop')


def test_unhandled_errors_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(main.COMMANDS['report'], 'run', lambda: {}['bug'])
    with pytest.raises(KeyError, match='bug'):
        run_inline('--mode=report')


@pytest.mark.parametrize('mode', ['train', 'report', 'convert'])
def test_workdir_is_needed(mode):
    expected = 'error: --workdir is missing; give the directory of the run'
    assert refusal(f'--mode={mode}', '--num_classes=3') == expected


@pytest.mark.parametrize('mode', ['sample', 'export', 'export_torch'])
def test_missing_workdir_of_modes_that_read_offers_the_demo(mode):
    assert '--workdir=demo for the packaged demo' in refusal(f'--mode={mode}')


def test_demo_is_the_packaged_one_unless_there_is_such_a_directory(tmp_path, monkeypatch):
    from spade_jax.commands.shared import given_workdir

    monkeypatch.chdir(tmp_path)
    with parsed_flags('--workdir=demo'):
        assert given_workdir(may_be_demo=True) == spade_jax.DEMO
        assert given_workdir() == 'demo'
        os.mkdir('demo')
        assert given_workdir(may_be_demo=True) == 'demo'


def test_export_has_one_size():
    message = refusal('--mode=export', '--workdir=demo', '--sample_size=native')
    assert 'sample_size=native, but an exported file has one size' in message


def test_workdir_below_a_file_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    message = refusal(f'--workdir={tmp_path}/file/run', '--perceptual_weight=0')
    assert 'cannot be created (Not a directory); choose another directory' in message


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le'])
def test_flagfile_may_have_any_encoding_and_name_others(tmp_path, encoding):
    inner, outer = tmp_path / 'inner.flags', tmp_path / 'outer.flags'
    inner.write_text('# a comment\r\n--workdir=für mich\r\n', encoding=encoding)
    outer.write_text(f'--flagfile {inner}\n--flagfile=quickstart\n--seed=3', encoding=encoding)
    with parsed_flags('--flagfile', outer, '--seed=4') as values:
        assert (values.workdir, values.crop_size, values.seed) == ('runs/quickstart', 64, 4)
    with parsed_flags(f'--flagfile={outer}', f'--flagfile={inner}') as values:
        assert (values.workdir, values.seed) == ('für mich', 3)


@pytest.mark.parametrize(
    'line, message',
    [
        ('--lerning_rate=1', "x.flags, line 4: Unknown command line flag 'lerning_rate'"),
        ('--batch_size=four', 'x.flags, line 4: flag --batch_size=four is not an integer; write'),
        ('--dontcare=maybe', 'x.flags, line 4: flag --dontcare=maybe is not true or false'),
        ('batch_size=4', 'x.flags, line 4: batch_size=4 is not a flag; write --name=value'),
    ],
)
def test_errors_name_the_line_of_a_flagfile(tmp_path, line, message):
    (tmp_path / 'x.flags').write_text(f'# Mine.\n--seed=3\n\n{line}\n')
    assert message in refusal(f'--flagfile={tmp_path}/x.flags', '--crop_size=64')


@pytest.mark.parametrize(
    'mode, default',
    [
        ('sample', 'Default: <workdir>/images.'),
        ('evaluate', 'Default: <workdir>/evaluation.'),
        ('validate_data', 'Default: data_report.'),
        ('export_torch', 'Directory of the files.'),
    ],
)
def test_help_tells_the_output_directory_of_the_mode(mode, default):
    text = succeed_inline(f'--mode={mode}', '--help=all')
    assert default in text.split('  --output_dir\n')[1].split('\n')[0]


def test_flagfile_that_includes_itself_is_refused(tmp_path):
    (tmp_path / 'x.flags').write_text(f'--flagfile={tmp_path}/x.flags')
    assert 'includes itself' in refusal(f'--flagfile={tmp_path}/x.flags')
