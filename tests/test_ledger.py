"The ledger: a line a record, tables as from one file a record, and nothing replaced unasked"
import json
import pytest
from dl_denoise.core import DenoiseError
from dl_denoise.ledger import (RESULTS, load_records, over_seeds, read_lines, record_name, save_record, table,
                               write_lines)

def test_as_written(tmp_path):
    "Every file of the package is as `write_lines` writes it: sorted records, sorted fields"
    files = sorted(RESULTS.glob('*'))
    assert [f.suffix for f in files] == ['.jsonl']*len(files) and files
    for f in files:
        write_lines(read_lines(f), tmp_path/f.name)
        assert (tmp_path/f.name).read_bytes() == f.read_bytes(), f.name

def test_one_added_line(tmp_path):
    "A new record changes no other line, wherever its place is"
    lines = (RESULTS/'demo1.jsonl').read_text().splitlines(keepends=True)
    for i in 0, len(lines)//2, len(lines)-1:
        (tmp_path/'demo1.jsonl').write_text(''.join(lines[:i] + lines[i+1:]))
        save_record(json.loads(lines[i]), tmp_path)
        assert (tmp_path/'demo1.jsonl').read_text() == ''.join(lines)
    assert [f.name for f in tmp_path.iterdir()] == ['demo1.jsonl']      # nothing half-written is left

def test_tables_are_those_of_single_files(tmp_path):
    "One JSON file for each record, as the ledger once was, gives the same rows in the same order"
    records = load_records()
    for r in records: (tmp_path/f'{record_name(r)}.json').write_text(json.dumps(r, indent=1))
    single = [json.loads(f.read_text()) for f in sorted(tmp_path.iterdir())]
    assert single == records and len({*map(record_name, records)}) == len(records)
    for e in 'demo1', 'demo2', 'losses':
        assert table([r for r in single if r['experiment'] == e]).equals(table(load_records(e)))

def test_never_replaced_unasked(tmp_path):
    r = load_records('demo1')[0]
    save_record(r, tmp_path)
    with pytest.raises(DenoiseError, match='already'): save_record(r | dict(mse=0.), tmp_path)
    assert load_records(folder=tmp_path) == [r]
    save_record(r | dict(mse=0.), tmp_path, overwrite=True)
    assert load_records(folder=tmp_path) == [r | dict(mse=0.)]

def test_seeds_in_one_row():
    "The mean and the standard deviation over seeds; other runs of the same network stay apart"
    r = next(r for r in load_records('demo1') if r['model'] == 'cnn')
    runs = [r | dict(seed=s, mse=.01 + s*1e-4) for s in range(3)] + [r | dict(experiment='schedule', mse=.02)]
    merged = over_seeds(runs)
    assert [o['mse'] for o in merged] == [pytest.approx(.0101), .02]
    assert list(table(runs)['MSE']) == ['0.01010 ± 0.00010', '0.02000']
