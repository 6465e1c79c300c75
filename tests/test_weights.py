"The packaged weights: small, each with its card, and no more of the largest network than are needed"
from safetensors import safe_open
from dl_denoise.core import WEIGHTS, cards, file_hash

def test_size():
    "What everybody downloads with the package"
    assert sum(p.stat().st_size for p in WEIGHTS.glob('*.safetensors')) < 24e6
    assert sum(c['architecture'] == 'win5rb' for c in cards().values()) <= 2

def test_cards_and_files():
    "Each file has its card, and the card its hash"
    assert {p.stem for p in WEIGHTS.glob('*.safetensors')} == {*cards()}
    for card in cards().values(): assert file_hash(WEIGHTS/card['file']) == card['hash']

def test_half_precision():
    "Sixteen bits, except where the network would notice; the scores are those of the cards, see test_faults"
    whole = set()
    for name in cards():
        with safe_open(WEIGHTS/f'{name}.safetensors', 'pt') as f:
            kinds = {f.get_slice(k).get_dtype() for k in f.keys()} - {'I64'}
        assert kinds in ({'F16'}, {'F32'}), (name, kinds)
        if kinds == {'F32'}: whole.add(name)
    assert len(whole) <= 1, whole
