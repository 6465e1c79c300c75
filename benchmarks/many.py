"""Pictures per second over 1 and 2 workers, the cost of a micrograph by its steps, the disk's and the
scheduler's own limits, and the memory of a large volume"""
import math, multiprocessing, os, statistics, tempfile, time
from pathlib import Path
import numpy as np, torch
from fastcore.script import call_parse
from dl_denoise.core import cards
from dl_denoise.ledger import peak_memory, save_record, surroundings
from dl_denoise.models.blocks import create_model
from dl_denoise.pictures.cleaning import Cleaning, denoise_picture
from dl_denoise.pictures.denoiser import load_denoiser, save_denoiser
from dl_denoise.pictures.files import Picture, read_picture, write_picture
from dl_denoise.pictures.folders import plan
from dl_denoise.pictures.many import connect, denoise_many, denoise_zarr

MODEL = 'photo-grey'

def micrograph(size, seed, dtype=np.uint16):
    "A smooth picture with the noise of photons, in 16 bits"
    rng, t = np.random.default_rng(seed), np.linspace(0, 9, size)
    light = 400*(2 + np.sin(t)[:, None] + np.cos(t*1.3)[None])
    return rng.poisson(light).astype(dtype)

def timed(fn, clock=time.perf_counter):
    "Seconds of a call, and its result"
    t = clock()
    result = fn()
    return clock() - t, result

def over_workers(folder, pictures, size, repeats):
    """The same folder by one worker and by two, in turns; their medians on the clock, which other work on
    the machine slows, and in the workers' processor time, which it does not"""
    for i in range(pictures):
        write_picture(Picture(micrograph(size, i), format='TIFF'), folder/f'in/{i:03}.tif')
    pairs, rows = plan(folder/'in', folder/'out'), []
    with connect('local:1') as one, connect('local:2') as two:      # whoever is not asked does nothing
        clients = {1: one, 2: two}
        def clean(n): denoise_many(pairs, clients[n], overwrite=True, say=lambda line: None, model=MODEL)
        def busy(n): return sum(clients[n].run(time.process_time).values())
        for n in clients: clean(n)      # every worker has loaded its network
        for turn in range(repeats):
            for n in (1, 2) if turn % 2 else (2, 1):
                before = busy(n)
                wall, _ = timed(lambda: clean(n))
                rows.append(dict(workers=n, seconds=wall, processor=busy(n) - before))
                print(rows[-1], flush=True)
    def rate(n, key): return pictures/statistics.median(r[key] for r in rows if r['workers'] == n)
    return dict(pictures=pictures, size=size, repeats=repeats,
                pictures_per_second={n: rate(n, 'seconds') for n in (1, 2)},
                pictures_per_processor_second={n: rate(n, 'processor') for n in (1, 2)})

def by_steps(folder, size, repeats):
    "Processor seconds of a micrograph by its steps, on one core; medians"
    dn, path, rows = load_denoiser(MODEL, 'cpu'), folder/'one.tif', []
    write_picture(Picture(micrograph(size, 0), format='TIFF'), path)
    dn(micrograph(512, 0))
    for _ in range(repeats):
        read, pic = timed(lambda: read_picture(path), time.process_time)
        network, result = timed(lambda: denoise_picture(pic, dn), time.process_time)
        write, _ = timed(lambda: write_picture(result, folder/'clean.tif'), time.process_time)
        rows.append(dict(read=read, network=network, write=write))
        print(rows[-1], flush=True)
    return dict(size=size, bytes=dict(read=path.stat().st_size, write=(folder/'clean.tif').stat().st_size),
                repeats=repeats,
                processor_seconds={k: statistics.median(r[k] for r in rows) for k in rows[0]})

def disk(folder, megabytes=200):
    "Megabytes per second of the disk, written until they are there, and read when the system forgot them"
    data, path = np.random.default_rng(0).bytes(megabytes << 20), folder/'disk'
    def write():
        with open(path, 'wb') as f:
            f.write(data)
            os.fsync(f.fileno())
    wrote = timed(write)[0]
    with open(path, 'rb') as f: os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    read = timed(path.read_bytes)[0]
    return dict(write=(megabytes << 20)/1e6/wrote, read=(megabytes << 20)/1e6/read)

def scheduler(tasks=1000):
    "Tasks that do nothing in a processor second of the scheduler and its client: what they can hand out"
    with connect('local:1') as client:
        def ask(n): client.gather(client.map(abs, range(n), pure=False))
        ask(100)
        return tasks/timed(lambda: ask(tasks), time.process_time)[0]

def make_volume(gigabytes, folder):
    "A Zarr array of so many gigabytes"
    import zarr
    side, a = 2048, micrograph(2048, 0)
    planes = round(gigabytes*1e9/(2*side**2))
    z = zarr.create_array(str(folder/'in.zarr'), shape=(planes, side, side), chunks=(1, 512, 512),
                          dtype='uint16', compressors=None)
    for i in range(planes): z[i] = np.roll(a, i, 0)
    return [*z.shape]

def clean_volume(folder):
    "Seconds and the largest memory of this process, from Zarr to Zarr with a quick network"
    torch.set_num_threads(1)
    save_denoiser(create_model('dncnn', depth=2, width=4), 'quick', 'dncnn', cards()[MODEL]['record'], folder,
                  depth=2, width=4)
    before = peak_memory()
    how = Cleaning(str(folder/'quick.json'))
    wall, _ = timed(lambda: denoise_zarr(folder/'in.zarr', folder/'out.zarr', how))
    return dict(seconds=wall, memory_before_gb=before, largest_memory_gb=peak_memory())

def alone(fn, *args):
    "Call a function in a process that has done nothing else"
    with multiprocessing.get_context('spawn').Pool(1) as pool: return pool.apply(fn, args)

@call_parse
def main(
    out:str='many',         # Folder for the records
    pictures:int=24,        # In the folder that is cleaned by one worker and by two; 0 leaves this out
    size:int=768,           # Their height and width
    repeats:int=3,          # Rounds; the median counts
    micro:int=2048,         # Height and width of the micrograph whose steps are measured; 0 leaves this out
    volume:float=0.,        # Measure the memory of a volume of so many gigabytes; 0 leaves this out
    overwrite:bool=False    # Replace records that are there?
):
    "Measure on this machine, which should be idle; the records say how busy it was"
    torch.set_num_threads(1)
    common = dict(experiment='many', data='random', threads=1, load_before=os.getloadavg()[0],
                  **surroundings('cpu'))
    def keep(variant, model, **told):
        save_record({**common, 'variant': variant, 'model': model, **told}, out, overwrite)
        print(variant, told, flush=True)
    with tempfile.TemporaryDirectory() as d:
        if volume:
            shape = alone(make_volume, volume, Path(d))
            keep('volume', 'dncnn-2x4', shape=shape, gigabytes=2*math.prod(shape)/1e9,
                 **alone(clean_volume, Path(d)))
        if micro: keep('steps', MODEL, disk_megabytes_per_second=disk(Path(d)), tasks_per_second=scheduler(),
                       **by_steps(Path(d), micro, repeats))
        if pictures: keep('workers', MODEL, **over_workers(Path(d), pictures, size, repeats))
