"The README's Python examples run as they are printed."
import re
from pathlib import Path

def test_python_examples(tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[1]/'README.md').read_text(encoding='utf8')
    blocks = re.findall(r'```python\n(.*?)```', text, flags=re.S)
    assert blocks
    monkeypatch.chdir(tmp_path)
    space = {}
    for b in blocks: exec(b, space)
    assert space['mse'](space['denoise'](space['noisy']), space['clean']) < .5*space['mse'](space['noisy'], space['clean'])
