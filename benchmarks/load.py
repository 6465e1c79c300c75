"""The app among good clients and bad ones: everybody who asks well is answered, and afterwards the server
is as it was. Everything stays on 127.0.0.1"""
import base64, http.client, io, json, random, re, socket, struct, sys, threading, time, zlib
from collections import Counter, defaultdict
from pathlib import Path
import numpy as np
from PIL import Image
from fastcore.script import call_parse
from app_load import start

# ---- what clients send: name -> method, path, body, type, and the answers that are right

JSON, FORM = 'application/json', 'multipart/form-data; boundary=b'

def pixels(h, w): return np.random.default_rng(0).random((h, w), dtype=np.float32)
def packed(h, w, **options):
    "An image as base64 in JSON"
    image = base64.b64encode(pixels(h, w).tobytes()).decode()
    return json.dumps(dict(image=image, width=w, height=h, **options)).encode()

def form(picture, **fields):
    "A form with a picture"
    part = lambda head, data: b'--b\r\nContent-Disposition: form-data; ' + head + b'\r\n\r\n' + data + b'\r\n'
    return b''.join(part(f'name="{k}"'.encode(), v.encode()) for k,v in fields.items()) \
        + part(b'name="image"; filename="a.png"', picture) + b'--b--\r\n'

def png(h, w):
    f = io.BytesIO()
    Image.fromarray((pixels(h, w)*255).astype(np.uint8)).save(f, 'PNG')
    return f.getvalue()

def bomb(side=20_000):
    "Few bytes that decode to 400 million"
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    packed = zlib.compress(bytes((side + 1)*100), 1)
    head = struct.pack('>2I5B', side, side, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', packed) + chunk(b'IEND', b'')

def post(body, *right, kind=JSON):
    "A request to denoise; if the server is busy, 503 is right, too"
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return 'POST', '/api/denoise', body, kind, {*right, 503}

def good():
    "What everybody may ask"
    few = dict(models='cae-mnist,median')
    return dict(
        digit=post(packed(28, 28, **few), 200), all_networks=post(packed(28, 28), 200),
        one_pixel=post(packed(1, 1, **few), 200), thin=post(packed(1, 2**16, models='median'), 200),
        rows=post(dict(image=pixels(28, 28).tolist(), **few), 200),
        noise=post(packed(28, 28, noise='gaussian', strength=.5, **few), 200),
        upload=post(form(png(60, 50), models='median', answer='png'), 200, kind=FORM),
        page=('GET', '/', None, JSON, {200}), models=('GET', '/api/models', None, JSON, {200}))

def bad():
    "What nobody should, and what is answered"
    long, one = 'a'*2_000_000, [[0]]
    return dict(
        text_on_a_pixel=post(dict(image=one, noise='text'), 200, 400),
        text_on_a_line=post(packed(1, 5000, noise='text', models='median'), 200, 400),
        long_name=post(dict(image=one, models=long), 400), long_noise=post(dict(image=one, noise=long), 400),
        long_image=post(dict(image=long, width=28, height=28), 400),
        long_number=post(b'{"image": [[' + b'9'*2_000_000 + b']]}', 400),
        long_seed=post(dict(image=one, noise='gaussian', seed='9'*1_900_000), 400),
        many_names=post(dict(image=one, models=['median']*190_000), 200),
        deep=post(b'['*2_000_000, 400), many_keys=post({f'k{i}': 0 for i in range(100_000)}, 400),
        large=post(bytes(2_500_000), 413), wide=post(dict(image=[[0]*70_000]), 413),
        bomb=post(form(bomb()), 413, kind=FORM), no_picture=post(form(b'hello'), 400, kind=FORM),
        fields=post(form(png(9, 9), **{f'f{i}': 'x' for i in range(100)}), 413, kind=FORM),
        no_type=post(packed(28, 28), 415, kind='text/plain'), nothing=post(b'', 400),
        delete=('DELETE', '/api/denoise', None, JSON, {405}), get=('GET', '/api/denoise', None, JSON, {405}),
        put=('PUT', '/', b'x', JSON, {405}), nowhere=('GET', '/..%2f..%2fetc/passwd', None, JSON, {404}))

# ---- clients

class Tally:
    "What came back, from many threads"
    def __init__(self):
        self.lock, self.came, self.slowest, self.faults = threading.Lock(), defaultdict(Counter), {}, []
    def add(self, name, what, seconds, right):
        with self.lock:
            self.came[name][what] += 1
            self.slowest[name] = max(seconds, self.slowest.get(name, 0))
            if not right: self.faults.append((name, what))

def ask(port, request, patience=60):
    "Status and seconds that a client was told to wait"
    method, path, body, kind, _ = request
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=patience)
    try:
        try: c.request(method, path, body, {'Content-Type': kind})
        except ConnectionError: pass        # refused before it was sent whole; the answer is there
        r = c.getresponse()
        r.read()
        return r.status, int(r.headers['Retry-After'] or 0)
    finally: c.close()

def polite(port, name, request, tally, patience=90):
    "Ask; if the server is busy, or did not come to an end in time, come back"
    began, tries = time.monotonic(), 0
    while True:
        try: status, wait = ask(port, request)
        except Exception as e: status, wait = type(e).__name__, 0
        seconds, tries = time.monotonic() - began, tries + 1
        if status not in (503, 504) or 200 not in request[4] or seconds > patience: break
        time.sleep(wait*(.5 + random.random()))
    busy = status == 503 and 200 in request[4]              # never answered
    tally.add(name, status, seconds, status in request[4] and not busy)

def broken_off(port, r, tally):
    "Announce a body and hang up within it, or before the answer is read"
    body = good()['digit'][2]
    head = b'POST /api/denoise HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n'
    head %= len(body)
    data = head + body
    with socket.create_connection(('127.0.0.1', port), timeout=30) as s:
        s.sendall(data[:r.choice([9, len(head), len(head) + 99, len(data)])])
        if r.random() < .5: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    tally.add('broken off', 'left', 0, True)

def slow(port, r, tally, stop):
    "A byte at a time, for some seconds"
    data = b'POST /api/denoise HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n'
    end = min(stop, time.monotonic() + r.uniform(2, 15))
    with socket.create_connection(('127.0.0.1', port), timeout=30) as s:
        for o in (data + b'['*99_999):
            if time.monotonic() > end: break
            try: s.sendall(bytes([o]))
            except OSError: break
            time.sleep(.1)
    tally.add('slow', 'left', 0, True)

def client(port, i, stop, tally, well, ill):
    "One client until the time is up: half of what it does is good"
    r = random.Random(i)
    while time.monotonic() < stop:
        what = r.random()
        if what < .5: polite(port, *r.choice(well), tally)
        elif what < .9: polite(port, *r.choice(ill), tally)
        elif what < .96: broken_off(port, r, tally)
        else: slow(port, r, tally, stop)
        time.sleep(r.uniform(0, .1))

def crowd(port, clients, seconds):
    "So many clients at once"
    well, ill = [*good().items()], [*bad().items()]
    tally, stop = Tally(), time.monotonic() + seconds
    threads = [threading.Thread(target=client, args=(port, i, stop, tally, well, ill))
               for i in range(clients)]
    for o in threads: o.start()
    for o in threads: o.join()
    return tally

# ---- the server's state, from outside

def state(pid):
    "Megabytes, threads, open files and children of a process"
    p = Path(f'/proc/{pid}')
    kept = int(re.search(r'VmRSS:\s+(\d+)', (p/'status').read_text())[1])/1024
    children = [c for o in (p/'task').iterdir() for c in (o/'children').read_text().split()]
    return dict(megabytes=round(kept), threads=len([*(p/'task').iterdir()]), files=len([*(p/'fd').iterdir()]),
                children=len(children))

def settled(run, files, patience=60):
    "The state once nobody is connected any more: when no more files are open than there were"
    end = time.monotonic() + patience
    while (now := state(run.pid))['files'] > files and time.monotonic() < end: time.sleep(.5)
    return now

@call_parse
def main(
    clients:int=200,        # Simultaneous clients
    seconds:float=60,       # How long they ask
    warm:float=180,         # How long they ask before that, so that memory is what it will be
    growth:float=50         # Megabytes by which the server may have grown
):
    """Load the app with good and bad requests; leaves with 1 if one was not answered, or something is left
    over"""
    run, port = start(0)
    try:
        files = state(run.pid)['files']
        crowd(port, clients, warm)
        before = settled(run, files)
        tally = crowd(port, clients, seconds)
        after = settled(run, files)
        for name, came in sorted(tally.came.items()):
            print(f'{name:16} slowest {tally.slowest[name]:6.2f} s  ', dict(came))
        total = sum(sum(o.values()) for o in tally.came.values())
        print(f'{clients} clients, {total} requests; before {before}, after {after}')
        wrong = [f'{name}: {what}, {n} times' for (name, what), n in Counter(tally.faults).items()]
        if run.poll() is not None: wrong.append(f'the server left with {run.poll()}')
        if after['megabytes'] > before['megabytes'] + growth: wrong.append('memory has grown')
        wrong += [f'more {o} than before' for o in ('threads', 'files', 'children') if after[o] > before[o]]
        print(*wrong or ['everything was answered, nothing is left'], sep='\n')
    finally:
        run.terminate()
        run.wait(10)
    sys.exit(1 if wrong else 0)
