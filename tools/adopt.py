"""Take finished records and weights, as `dl_denoise reproduce` writes them, into the package. Nothing is
taken from a folder in which anything is not as it should be"""
import json, sys
from pathlib import Path
from dl_denoise.core import MODELS, WEIGHTS, DenoiseError, cards, find_card
from dl_denoise.experiments.reproduce import is_whole, shown
from dl_denoise.ledger import RESULTS, read_lines, record_name, write_lines
from dl_denoise.pictures.denoiser import load_denoiser, save_denoiser

def read_records(folder):
    "The records of a run: files of lines, or, as they once were, a file for each"
    found = {}
    for file in sorted(folder.glob('results/*.jsonl')): found |= read_lines(file)
    for file in sorted(folder.glob('results/*.json')):
        r = json.loads(file.read_text(encoding='utf8'))
        found[record_name(r)] = r
    return found

def wrong_records(records):
    "What speaks against these records, a line each"
    if not records: return ['there are no records in results/']
    wrong = [f"{name} is not of the whole size: {r['images']['train']:,} images × {r['epochs']} epochs"
             for name, r in records.items() if not is_whole(r)]
    commits = {r['commit'] for r in records.values()}
    if len(commits) > 1: wrong.append(f"the records are by different commits: {', '.join(map(str, commits))}")
    if None in commits: wrong.append('records without a commit: they were not made in a checkout')
    return wrong

def wrong_weights(card, records):
    "What speaks against the weights of one card, or None"
    try: told = load_denoiser(card, device='cpu').card['record']
    except DenoiseError as e: return str(e)
    r = records.get(record_name(told))
    if r is None or (r['mse'], r['commit']) != (told['mse'], told['commit']):
        return f'{card} has a record that is not in results/'

def is_smaller(old, new):
    "Is a record of the ledger the same training as a new one, but not of the whole size?"
    same = ('experiment', 'model', 'variant', 'data', 'seed')
    return not is_whole(old) and all(old.get(k) == new.get(k) for k in same)

def take_records(records, ledger):
    "Put records into the ledger; those of the same training at a smaller size leave it"
    for name, r in records.items():
        file = ledger/f"{r['experiment']}.jsonl"
        known = read_lines(file)
        gone = [o for o, old in known.items() if o == name or is_smaller(old, r)]
        told = [f"instead of {known[o]['mse']:.5f} after {shown(known[o]):,} images" for o in gone]
        print(f"{name}: MSE {r['mse']:.5f}", *told)
        write_lines({o: old for o, old in known.items() if o not in gone} | {name: r}, file)

def adopt(folder, ledger=RESULTS, weights=WEIGHTS):
    "Take over what is in a folder. Raises `DenoiseError`, before anything is changed, if anything is wrong"
    folder = Path(folder)
    records = read_records(folder)
    packaged = {*cards(weights), *(f'{model}-mnist' for model in MODELS)}
    found = [file for file in sorted(folder.rglob('weights/*.json')) if file.stem in packaged
             and 'schedule' not in file.parts]
    wrong = wrong_records(records) + [o for file in found if (o := wrong_weights(file, records))]
    if wrong: raise DenoiseError('\n'.join([f'nothing was taken from {folder}:', *wrong]))
    take_records(records, ledger)
    for file in found:
        card = find_card(file)[1]
        model = load_denoiser(file, device='cpu').model
        save_denoiser(model, file.stem, card['architecture'], card['record'], weights, **card['arguments'])
        print(f'{file.stem}: weights')

if __name__ == '__main__':
    try: adopt(sys.argv[1])
    except DenoiseError as e: sys.exit(f'adopt: {e}')
