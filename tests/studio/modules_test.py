"""The modules of the page import what they use, by names that are exported; there is no bundler."""

import pathlib
import re

import pytest

import spade_jax.studio

FOLDER = pathlib.Path(spade_jax.studio.__file__).parent / 'static/js'
SOURCES = {path.stem: path.read_text() for path in sorted(FOLDER.glob('*.js'))}
IMPORT = re.compile(r"^import \{([^}]*)\} from '\./(\w+)\.js';$", re.MULTILINE)
EXPORT = re.compile(r'^export (?:async )?(?:function|const|class) (\w+)', re.MULTILINE)
COMMENT = re.compile(r'/\*.*?\*/|^ *//.*?$', re.DOTALL | re.MULTILINE)
EXPORTS = {name: set(EXPORT.findall(source)) for name, source in SOURCES.items()}


def imports(source):
    """The modules that a module imports from, with the names."""
    return {
        module: [name.strip() for name in names.split(',') if name.strip()]
        for names, module in IMPORT.findall(source)
    }


def own_names(code):
    """Names that a module declares, takes as parameters or has as methods, roughly."""
    declared = re.findall(r'(?:function|const|let|class) (\w+)', code)
    taken = re.findall(r'[{(,\[]\s*(\w+)(?=\s*[,})=\]])', code)
    return {*declared, *taken, *re.findall(r'^\s*(\w+)\([^)]*\) \{$', code, re.MULTILINE)}


@pytest.mark.parametrize('name', SOURCES)
def test_module_imports_what_it_uses(name):
    source = SOURCES[name]
    code = COMMENT.sub('', IMPORT.sub('', source))
    taken = imports(source)
    for module, names in taken.items():
        assert set(names) <= EXPORTS[module], f'{name}.js imports from {module}.js'
        assert [one for one in names if not re.search(rf'\b{one}\b', code)] == [], 'unused imports'
    known = set().union(*taken.values(), own_names(code), EXPORTS[name])
    called = set(re.findall(r'(?<![.\w`])(\w+)\(', code))
    assert called & set().union(*EXPORTS.values()) <= known
