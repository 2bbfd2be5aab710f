"""--mode=validate_data for a run that exists."""

from tests import program
from tests.fixtures.cli import refusal, succeed_inline
from tests.sampling import tiny


def test_data_of_a_run_are_validated_with_its_configuration(tmp_path):
    data = program.write_folders(tmp_path / 'data', count=3)
    config = tiny.STYLED.replace(dataset='folders', data_dir=str(data))
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    for number, flag in enumerate([f'--workdir={workdir}', f'--init_from={workdir}']):
        flags = [flag, f'--output_dir={tmp_path}/report_{number}']
        assert 'The data are fine.' in succeed_inline('--mode=validate_data', *flags)
    (data / 'train_label' / '1.png').write_bytes(b'no image')
    message = refusal('--mode=validate_data', f'--workdir={workdir}', f'--output_dir={tmp_path}/r')
    assert '1 defect in 1 file' in message
