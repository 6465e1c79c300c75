"The README's Python examples run as they are printed, in an environment that has only the built wheel"
import re
from conftest import root, run

def test_python_examples(environment, tmp_path):
    blocks = re.findall(r'```python\n(.*?)```', (root/'README.md').read_text(encoding='utf8'), flags=re.S)
    assert blocks and any('from dl_denoise.all import *' in b for b in blocks)
    (tmp_path/'readme.py').write_text('\n'.join([*blocks, 'assert mse(denoise(noisy), clean) < '
                                                          '.5*mse(noisy, clean)']), encoding='utf8')
    run(environment('newest'), 'readme.py', cwd=tmp_path)
