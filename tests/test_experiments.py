"""The experiments: one recipe, a list of trainings that keeps its budget and goes on as if it had never
stopped, and a package that takes only what is finished"""
import json, shutil
from types import SimpleNamespace
import pytest
from dl_denoise.apps.cli import main
from dl_denoise.core import DenoiseError, cards
from dl_denoise.data import digits
from dl_denoise.experiments import reproduce
from dl_denoise.experiments.demo1 import add_network, start_comparison
from dl_denoise.experiments.reproduce import Run, reproduce_all
from dl_denoise.ledger import RESULTS, load_records, record_name, save_record
from dl_denoise.models.blocks import create_model
from dl_denoise.noise import GaussianNoise
from dl_denoise.pictures.denoiser import load_denoiser, save_denoiser
import conftest      # tools are importable from here on
import adopt

# ---- records

def test_fields_of_a_record(tmp_path):
    "A network's record has the fields that the ledger's have"
    c, dls = start_comparison(digits(16).subset(train=32, valid=16, test=16), GaussianNoise(.5), bs=16)
    record = add_network(c, dls, 'cnn', 1, depth=3, width=4)
    known = next(r for r in load_records('demo1') if r['model'] == 'cnn')
    assert {*known} <= {*record} <= {*known} | {'variant', 'loss', 'lr'}
    assert record['published'] == known['published'] and record['target'] == 'clean'

def test_seeds_stay_apart(tmp_path):
    "Two seeds in one folder have weights, checkpoints and records of their own"
    data = digits(16).subset(train=32, valid=16, test=16)
    c, dls = start_comparison(data, GaussianNoise(.5), bs=16)
    for seed in 0, 1:
        save_record(add_network(c, dls, 'cnn', 1, seed=seed, folder=tmp_path, depth=3, width=4), tmp_path)
    for kind in 'weights/cnn{}-digits.json', 'checkpoints/cnn{}.pth':
        assert [(tmp_path/kind.format(o)).exists() for o in ('', '-seed1')] == [True, True]
    assert len(load_records(folder=tmp_path)) == 2

# ---- all that is lacking

SMALL = dict(source='digits', images=64, epochs=3, bs=16,
             runs=[Run('demo1', 'cnn'), Run('demo2', 'cnn', 'n2n-clipped'), Run('schedule', 'cnn')])
TIMES = ('seconds', 'images_per_second', 'ms_per_image')

def outcome(plan):
    "Records without their times, and the bytes of all weights"
    records = load_records(folder=plan.out/'results')
    for r in records: r |= dict.fromkeys(TIMES)
    return records, {p.relative_to(plan.out): p.read_bytes() for p in plan.out.rglob('*.safetensors')}

def test_interrupted_and_resumed(tmp_path, monkeypatch):
    "Stopped again and again, in the middle of epochs, the trainings end bit for bit as without a stop"
    whole = reproduce_all(60, tmp_path/'whole', **SMALL)
    ticks = iter(range(10**9))          # a clock that goes on by a second whenever it is looked at
    monkeypatch.setattr(reproduce, 'time', SimpleNamespace(monotonic=lambda: next(ticks)))
    sessions, plan = 0, None
    while plan is None or plan.left():
        plan = reproduce_all(.25, tmp_path/'parts', resume=sessions > 0, **SMALL)
        sessions += 1
        assert sessions < 20
    assert sessions > 3
    assert outcome(plan) == outcome(whole)
    assert len(outcome(whole)[0]) == 4 and len(outcome(whole)[1]) == 3

def test_budget(tmp_path, capsys):
    "Nothing is begun that cannot end in time, and the output says what is left and how long it takes"
    plan = reproduce_all(0, tmp_path/'all', **SMALL)
    assert plan.left() == SMALL['runs'] and not load_records(folder=plan.out/'results')
    told = capsys.readouterr().out
    assert told.count('left  demo2, CNN, n2n-clipped') == 2 and 'in all' in told
    assert 'the time is over' in told

def test_what_the_ledger_has(tmp_path):
    "A training is done if its record has the whole size; smaller ones do not count"
    plan = reproduce.Plan(tmp_path, digits(16), reproduce.all_runs())
    plan.data = SimpleNamespace(name='mnist', train=range(50_000))
    known = {record_name(r): r.get('epochs') for r in load_records()}
    for run in plan.runs:
        assert (run in plan.done(RESULTS)) == (known.get(plan.name(run)) == plan.passes(run.experiment))

def test_command(monkeypatch, capsys):
    assert main(['reproduce', 'all']) == 2 and '--budget MINUTES' in capsys.readouterr().err
    assert main(['reproduce', 'all', '--budget', '0']) == 2
    asked = {}
    def pretend(budget, out, **kwargs):
        asked.update(kwargs, budget=budget)
        return SimpleNamespace(left=lambda: ['one'], done=list, out=out)
    monkeypatch.setattr(reproduce, 'reproduce_all', pretend)
    assert main('reproduce all --budget 10 --images 96 --resume --out x'.split()) == 0
    assert asked == dict(budget=10, images=96, resume=True, again=False, precision='auto')
    assert 'dl_denoise reproduce all --budget 10 --resume --out x' in capsys.readouterr().out

# ---- what the package takes

@pytest.fixture
def home(tmp_path):
    "A ledger and weights to change, and a finished run with a record and weights of its own"
    ledger, weights, run = tmp_path/'results', tmp_path/'weights', tmp_path/'run'
    shutil.copytree(RESULTS, ledger)
    weights.mkdir()
    known = next(r for r in load_records('demo1') if r['model'] == 'cnn')
    record = known | dict(model='win5rb', images=known['images'] | dict(train=50_000), epochs=10, mse=.0085,
                          commit='0123456789ab')
    save_record(record, run/'results')
    arguments = dict(width=4)
    model = create_model('win5rb', **arguments)
    save_denoiser(model, 'win5rb-mnist', 'win5rb', record, run/'demo1'/'weights', **arguments)
    return SimpleNamespace(ledger=ledger, weights=weights, run=run, record=record)

def test_adopt(home):
    "The new record stands in the place of the smaller one, the weights are those of the run"
    before = load_records('demo1', home.ledger)
    adopt.adopt(home.run, home.ledger, home.weights)
    after = load_records('demo1', home.ledger)
    others = lambda records: [r for r in records if r['model'] != 'win5rb']
    assert others(after) == others(before) and [r for r in after if r['model'] == 'win5rb'] == [home.record]
    assert load_denoiser('win5rb-mnist', folder=home.weights).card['record'] == home.record
    assert {*cards(home.weights)} == {'win5rb-mnist'}

def test_adopt_single_files(home):
    "A run with a file for each record, as they once were"
    (home.run/'results'/'demo1.jsonl').unlink()
    (home.run/'results'/'old.json').write_text(json.dumps(home.record, indent=1))
    adopt.adopt(home.run, home.ledger, home.weights)
    assert home.record in load_records('demo1', home.ledger)

def spoil_weights(home):
    file = next(home.run.rglob('*.safetensors'))
    file.write_bytes(file.read_bytes()[:-1] + b'x')

@pytest.mark.parametrize('change,says', [
    (lambda home: save_record(home.record | dict(seed=1, epochs=2), home.run/'results'),
     '50,000 images × 2 epochs'),
    (lambda home: save_record(home.record | dict(seed=1, commit='ba9876543210'), home.run/'results'),
     'by different commits'),
    (lambda home: save_record(home.record | dict(commit=None), home.run/'results', overwrite=True),
     'without a commit'),
    (lambda home: save_record(home.record | dict(mse=.5), home.run/'results', overwrite=True),
     'a record that is not in results'),
    (spoil_weights, 'its hash is not the one on its card'),
    (lambda home: shutil.rmtree(home.run/'results'), 'there are no records')], ids=lambda o: None)
def test_adopt_refuses(home, change, says):
    change(home)
    before = load_records(folder=home.ledger)
    with pytest.raises(DenoiseError, match=says): adopt.adopt(home.run, home.ledger, home.weights)
    assert load_records(folder=home.ledger) == before and not [*home.weights.iterdir()]
