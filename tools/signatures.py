"""What nbdev shows of a function or a class, told again in the words of its source: defaults and types
as they are written, and the docstring as plain text"""
import ast, re
from functools import cache
from pathlib import Path

root = Path(__file__).resolve().parent.parent
SHOWN = re.compile(r'---\n\n\[source\]\((?P<url>\S+/blob/[^/]+)/\S+\)\{[^}]*\}\n\n'
                   r'### (?P<name>\S+)\n\n```python\n.*?\n```\n*(?P<told>.*)', flags=re.S)
# code, links from it, and links
KEPT = re.compile(r'(\[?`[^`\n]*`(?:\]\([^)\s]*\))?|\[[^\]]{1,90}\]\(https?://[^)\s]*\))')

@cache
def defined(file):
    "Name -> function or class of a module; methods are `Class.name`, in the class or patched into it"
    found = {}
    for node in ast.parse(file.read_text(encoding='utf8')).body:
        if isinstance(node, ast.ClassDef):
            methods = [o for o in node.body if isinstance(o, ast.FunctionDef)]
            found |= {node.name: node} | {f'{node.name}.{o.name}': o for o in methods}
        elif isinstance(node, ast.FunctionDef):
            patched = [o for o in node.decorator_list if ast.unparse(o).startswith('patch')]
            owner = f'{ast.unparse(node.args.args[0].annotation)}.' if patched else ''
            found[owner + node.name] = node
    return found

def head(node, lines):
    "A `def` or `class` as it is written, without decorators and without what follows the colon"
    first = node.body[0]
    text = '\n'.join([*lines[node.lineno-1:first.lineno-1], lines[first.lineno-1][:first.col_offset]])
    return text.rstrip()

def fields(node, lines):
    "The annotated fields of a dataclass, with their comments"
    return [lines[o.lineno-1].rstrip() for o in node.body if isinstance(o, ast.AnnAssign)]

def signature(file, name):
    "The head of a function; of a class also that of `__init__`, or its fields"
    node, lines = defined(file)[name], file.read_text(encoding='utf8').splitlines()
    parts = [head(node, lines)]
    if isinstance(node, ast.ClassDef):
        init = [o for o in node.body if isinstance(o, ast.FunctionDef) and o.name == '__init__']
        parts += [head(init[0], lines)] if init else fields(node, lines)
    return '\n'.join(parts)

def plain(text):
    "Text in which only code and its links mean something to Markdown"
    parts = KEPT.split(text)
    parts[::2] = [re.sub(r'([\\*_<>$^~#@|\[\]-])', r'\\\1', o) for o in parts[::2]]
    return ''.join(parts)

def told(text):
    "nbdev's docstring, the first line of which is in italics"
    first, newline, rest = text.partition('\n')
    return plain(re.sub(r'^\*(.*)\*$', r'\1', first) + newline + rest)

def in_the_sources_words(text, module, folder=root, taught=()):
    """What nbdev shows of one name of a module, with signature and docstring as they are written;
    of those in `taught` the page shows the code: they get a place to link to, and no more"""
    m = SHOWN.match(text)
    if not m: return text
    name, file = m['name'], f"dl_denoise/{module.replace('.', '/')}.py"
    if name in taught: return f'[]{{#{name.lower()} .api}}'
    code, line = signature(folder/file, name), defined(folder/file)[name].lineno
    return (f"### `{name}` {{#{name.lower()} .api}}\n\n```python\n{code}\n```\n\n{told(m['told'])}\n\n"
            f"[source]({m['url']}/{file}#L{line}){{.source}}\n")
