"Make README.md from nbs/index.ipynb. nbdev's own command for it needs Quarto; this does not"
import json, os, re
from pathlib import Path

root = Path(__file__).resolve().parent.parent

def _link(m):
    "A link relative to nbs/ as one relative to the root"
    before, target = m.groups()
    if re.match(r'[a-z]+:|#|/', target): return m[0]
    path, *anchor = target.split('#')
    return before + '#'.join([os.path.normpath(f'nbs/{path}'), *anchor])

def _markdown(text):
    "Markdown without what only the site understands"
    text = re.sub(r'^```\{=html\}$.*?^```$\n?', '', text, flags=re.M|re.S)
    text = re.sub(r'^:::.*\n?', '', text, flags=re.M)
    text = re.sub(r'(\]\([^)]*\))\{[^}]*\}', r'\1', text)
    return re.sub(r'(\]\()([^)\s]+)', _link, text).strip()

def _output(o):
    "An output as Markdown"
    data = o.get('data', {})
    if 'text/markdown' in data: return _markdown(''.join(data['text/markdown']))
    plain = ''.join(data.get('text/plain', o.get('text', ''))).rstrip()
    return f'```\n{plain}\n```' if plain else ''

def readme(path=root/'nbs'/'index.ipynb'):
    "The text of README.md: markdown as it is, code that is not hidden, and what it printed"
    parts = []
    for c in json.loads(path.read_text(encoding='utf8'))['cells']:
        lines = ''.join(c['source']).strip().splitlines()
        flags = {o.lstrip('#| ').strip().replace(' ', '') for o in lines if o.startswith('#|')}
        code = '\n'.join(o for o in lines if not o.startswith('#|')).strip()
        if c['cell_type'] == 'markdown': parts.append(_markdown('\n'.join(lines)))
        if c['cell_type'] != 'code' or 'hide' in flags: continue
        if code and 'echo:false' not in flags: parts.append(f'```python\n{code}\n```')
        if 'output:false' not in flags: parts += map(_output, c['outputs'])
    head = '<!-- Made from nbs/index.ipynb: edit that, then run `make prepare` -->'
    return '\n\n'.join([head, *filter(None, parts)]) + '\n'

if __name__ == '__main__': (root/'README.md').write_text(readme(), encoding='utf8')
