"Make the modules from the notebooks: nbdev's export, then the docstring that each module asks for"
import json, re
from pathlib import Path
from nbdev.doclinks import nbdev_export

root = Path(__file__).resolve().parent.parent
ASKED = re.compile(r'#\| default_exp (\S+)\n# (.+)')

def docstring(page):
    "Module and docstring that the `default_exp` cell of a page names, or None"
    for cell in json.loads(page.read_text(encoding='utf8'))['cells']:
        if asked := ASKED.match(''.join(cell['source'])): return asked.groups()

def set_docstring(module, text):
    "Put `text` in the place of the page's `>` line, which nbdev takes"
    path = root/'dl_denoise'/f"{module.replace('.', '/')}.py"
    code = path.read_text(encoding='utf8')
    path.write_text(re.sub(r'\A""".*?"""', lambda _: f'"""{text}"""', code, flags=re.S), encoding='utf8')

def main():
    nbdev_export()
    for page in sorted((root/'nbs').rglob('*.ipynb')):
        if asked := docstring(page): set_docstring(*asked)

if __name__ == '__main__': main()
