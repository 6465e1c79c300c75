"The app: every fault gets JSON, a reason and the right status, and the server lives on"
import base64, http.client, io, json, os, re, socket, struct, subprocess, sys, threading, time, zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pytest, torch
import numpy as np
from PIL import Image
from dl_denoise.apps.server import WEB, create_app, denoiser_list, make_server, read_picture, sample_digits
from dl_denoise.core import DenoiseError, UsageError

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root/'benchmarks'))
import load
DIGIT = np.frombuffer(base64.b64decode(sample_digits()['images'][0]), np.uint8).reshape(28, 28)

def pack(a): return base64.b64encode(np.asarray(a, '<f4').tobytes()).decode()
def unpack(o, h=28, w=28): return np.frombuffer(base64.b64decode(o['pixels']), '<f4').reshape(h, w)

def file(a=DIGIT, kind='PNG', **kwargs):
    f = io.BytesIO()
    (a if isinstance(a, Image.Image) else Image.fromarray(a)).save(f, kind, **kwargs)
    return f.getvalue()

def noisy(n): return np.random.default_rng(0).integers(0, 256, (n, n), dtype=np.uint8)

def bomb(side=20_000):
    "A whole and valid PNG: few bytes that decode to 400 million"
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    z, rows = zlib.compressobj(1), bytes((side + 1)*100)
    packed = b''.join([z.compress(rows) for _ in range(side//100)] + [z.flush()])
    header = struct.pack('>2I5B', side, side, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', packed) + chunk(b'IEND', b'')

@pytest.fixture(scope='module')
def app():
    app = create_app(threads=1)
    yield app
    app.workers.close()

@pytest.fixture
def client(app): return app.test_client()

def send(client, **body): return client.post('/api/denoise', json=body)
def upload(client, data, name='a.png', **fields):
    return client.post('/api/denoise', data=dict(image=(io.BytesIO(data), name), **fields))

# ---- what it does

def test_models_and_samples(client):
    names = [o['name'] for o in client.get('/api/models').json]
    assert names[-1] == 'median' and {'cnn-mnist', 'cae-mnist', 'dncnn-mnist', 'win5rb-mnist'} <= {*names}
    assert names == [o['name'] for o in denoiser_list()]
    assert len(client.get('/api/samples').json['images']) == 10
    assert client.get('/healthz').json == dict(status='ok', waiting=0)

@pytest.mark.parametrize('name', [o['name'] for o in denoiser_list()])
def test_same_as_the_library(client, app, name):
    "What the app answers is what the denoiser gives"
    x = np.random.default_rng(0).random((20, 31), dtype=np.float32)
    r = send(client, image=pack(x), width=31, height=20, models=[name])
    assert r.status_code == 200 and [o['name'] for o in r.json['results']] == [name]
    want = app.workers.denoisers[name](torch.from_numpy(x)[None,None])[0,0].numpy()
    assert abs(unpack(r.json['results'][0], 20, 31) - want).max() < 1e-5
    assert r.json['results'][0]['ms'] > 0 and 'mse' not in r.json['results'][0]

def test_noise_on_the_server(client):
    "A file, noise, png as answer; the same seed gives the same"
    rs = [upload(client, file(), noise='gaussian', strength='0.5', clip='true', seed=s,
                 models='cae-mnist,median', answer='png').json for s in ('1', '1', '2')]
    assert rs[0]['noisy'] == rs[1]['noisy'] != rs[2]['noisy']
    for r in rs:
        assert all(o['mse'] < .5*r['noisy']['mse'] for o in r['results'])
        assert read_picture(base64.b64decode(r['results'][0]['png'])).shape == (28, 28)

@pytest.mark.parametrize('picture', [file(kind='JPEG', quality=95), file(kind='BMP'),
                                     file(np.stack([DIGIT]*3, -1)),
                                     file(Image.fromarray(DIGIT.astype(np.uint16)*257)),
                                     file(Image.fromarray(DIGIT).convert('P'))], ids=['jpeg', 'bmp',
                                                                                      'colour', '16 bit',
                                                                                      'palette'])
def test_kinds_of_pictures(picture):
    a = read_picture(picture)
    assert a.dtype == np.float32 and abs(a - DIGIT/255).mean() < .02

@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (9, 2), (64, 50)])
def test_any_size(client, shape):
    r = send(client, image=np.full(shape, .5).tolist())
    assert r.status_code == 200 and all(np.isfinite(unpack(o, *shape)).all() for o in r.json['results'])

# ---- faults

def check_error(r, status):
    assert r.status_code == status, r.data[:300]
    assert r.mimetype == 'application/json' and {*r.json} == {'error', 'reason'} and r.json['reason']
    assert not re.search(r'Traceback|File "|site-packages|\.py|/home|/usr|/root|/tmp|'
                         + re.escape(str(root)), r.text), f'the error tells too much: {r.text}'
    assert r.headers['X-Content-Type-Options'] == 'nosniff'
    assert "default-src 'self'" in r.headers['Content-Security-Policy']
    return r.json['reason']

@pytest.mark.parametrize('what, data, status, reason', [
    ('empty', b'', 400, 'empty'), ('no picture', b'hello, world', 400, 'not a picture'),
    ('a GIF', file(kind='GIF'), 400, 'not a picture'),
    ('half a PNG', file(noisy(60))[:900], 400, 'cut short'),
    ('half a JPEG', file(noisy(60), 'JPEG')[:900], 400, 'cut short'), ('20 bytes', file()[:20], 400, ''),
    ('wrong checksum', file()[:45] + b'xxxx' + file()[49:], 400, ''),
    ('too many pixels', file(np.zeros((300, 300), np.uint8)), 413, '90,000 pixels'),
    ('bomb', bomb(), 413, 'pixels'), ('too many bytes', bytes(3_000_000), 413,
                                      'bytes')], ids=lambda o: o if isinstance(o, str) else '')
def test_wrong_pictures(client, what, data, status, reason):
    assert reason in check_error(upload(client, data), status)

@pytest.mark.parametrize('body, status, reason', [
    ({}, 400, "key 'image'"), ([1], 400, 'must be an object'), ({'image': None}, 400, 'rows of numbers'),
    ({'image': 3}, 400, 'rows of numbers'), ({'image': []}, 400, 'rows of numbers'),
    ({'image': [[]]}, 400, 'rows of numbers'), ({'image': [[1, 2], [3]]}, 400, 'same length'),
    ({'image': [['a']]}, 400, 'rows of numbers'), ({'image': [[True]]}, 400, 'rows of numbers'),
    ({'image': [[[1]]]}, 400, 'rows of numbers'), ({'image': {'a': 1}}, 400, 'rows of numbers'),
    ({'image': [[1e300]]}, 400, 'not finite'), ({'image': [[10**400]]}, 400, ''),
    ({'image': [[float('nan')]]}, 400, 'not finite'), ({'image': [[float('inf')]]}, 400, 'not finite'),
    ({'image': pack([np.nan]), 'width': 1, 'height': 1}, 400, 'not finite'),
    ({'image': [[0, 255]]}, 400, 'divide 8-bit values by 255'),
    ({'image': pack([0]*4), 'width': 2}, 400, 'height must be'),
    ({'image': pack([0]*4), 'width': 2, 'height': 3}, 400, '24 bytes'),
    ({'image': 'ä!', 'width': 1, 'height': 1}, 400, 'not base64'),
    ({'image': '', 'width': 0, 'height': 1}, 400, 'width must be'),
    ({'image': '', 'width': True, 'height': 1}, 400, 'width must be'),
    ({'image': '', 'width': 10**9, 'height': 10**9}, 413, 'pixels'),
    ({'image': [[0]*70_000]}, 413, '70,000 pixels'),
    ({'image': [[0]], 'models': 'cea-mnist'}, 400, "did you mean 'cae-mnist'"),
    ({'image': [[0]], 'models': []}, 400, 'models'), ({'image': [[0]], 'models': [[1]]}, 400, 'models'),
    ({'image': [[0]], 'models': '../../x'}, 400, 'unknown denoiser'),
    ({'image': [[0]], 'noise': 'fog'}, 400, 'unknown noise'),
    ({'image': [[0]], 'noise': 'gaussian', 'strength': 99}, 400, 'sigma'),
    ({'image': [[0]], 'noise': 'gaussian', 'strength': float('nan')}, 400, 'strength'),
    ({'image': [[-1]], 'noise': 'poisson'}, 400, 'Poisson'),
    ({'image': [[0]], 'seed': 1.5, 'noise': 'gaussian'}, 400, 'seed'),
    ({'image': [[0]], 'answer': 'exe'}, 400,
     'kind of answer')], ids=lambda o: str(o)[:40] if isinstance(o, dict) else '')
def test_wrong_numbers(client, body, status, reason):
    assert reason in check_error(client.post('/api/denoise', data=json.dumps(body),
                                             content_type='application/json'), status)

def test_other_faults(client):
    assert 'nothing was sent' in check_error(client.post('/api/denoise'), 400)
    assert 'nothing was sent' in check_error(client.post('/api/denoise', content_type='application/json'),
                                             400)
    assert 'multipart' in check_error(client.post('/api/denoise', data='x', content_type='text/plain'), 415)
    assert 'no file' in check_error(client.post('/api/denoise',
                                                data={'other': (io.BytesIO(b'x'), 'a.png')}), 400)
    assert 'no file' in check_error(client.post('/api/denoise', data='x',
                                                content_type='multipart/form-data'), 400)
    assert 'not JSON' in check_error(client.post('/api/denoise', data=b'{"image": [[0',
                                                 content_type='application/json'), 400)
    assert 'not JSON' in check_error(client.post('/api/denoise', data=b'['*100_000,
                                                 content_type='application/json'), 400)
    check_error(client.post('/api/denoise',
                            data={'image': (io.BytesIO(file()), 'a.png'),
                                  **{f'f{i}': 'x' for i in range(100)}}), 413)
    assert 'POST' in check_error(client.get('/api/denoise'), 405)
    for path in ('/nothing', '/api/nothing', '/../settings.ini', '/%2e%2e/app.py', '/..%2fapp.py',
                 '/etc/passwd', '/a%00b'):
        check_error(client.get(path), 404)
    check_error(client.delete('/'), 405)

def test_500_tells_nothing(client, app, monkeypatch):
    def broken(x): raise RuntimeError(f'secret {__file__}')
    monkeypatch.setitem(app.workers.denoisers, 'median', broken)
    assert 'secret' not in check_error(send(client, image=[[0]], models='median'), 500)
    assert send(client, image=[[0]], models='cae-mnist').status_code == 200

def test_time_and_room():
    "Too slow is 504, no turn in time is 503, no room is 503 at once"
    app = create_app(['median'], threads=1, queue=2, seconds=1.5)
    held = threading.Event()
    def slow(x): held.wait(20); return x
    app.workers.denoisers['median'] = slow
    ask = lambda: send(app.test_client(), image=[[0]])
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask); time.sleep(.5)
        second = pool.submit(ask); time.sleep(.3)
        start = time.monotonic()
        third = ask()
        assert 'busy with 2 requests' in check_error(third, 503)
        assert third.headers['Retry-After'] == '1'
        assert time.monotonic() - start < .5
        assert 'took longer than 1.5 seconds' in check_error(first.result(), 504)
        assert 'busy' in check_error(second.result(), 503) and second.result().headers['Retry-After']
    held.set()
    assert ask().status_code == 200
    assert not app.workers.waiting
    app.workers.close()

def test_the_page(client):
    r = client.get('/')
    assert r.status_code == 200 and r.mimetype == 'text/html'
    assert not re.search(r'<script(?![^>]*src=)|\sstyle=|<style|\son\w+=',
                         r.text), 'the content security policy would forbid this'
    for name in re.findall(r'(?:src|href)="([^"]+)"', r.text):
        assert client.get('/' + name).status_code == 200, name
    for name in ('ui.js', 'noise.js', 'engine-api.js', 'style.css', 'index.html', 'icon.svg'):
        assert not re.search(r'https?://(?!www\.w3\.org)',
                             (WEB/name).read_text(encoding='utf8')), f'{name} refers to another host'
        r = client.get('/' + name)
        assert r.mimetype == {'js': 'text/javascript', 'css': 'text/css', 'html': 'text/html',
                              'svg': 'image/svg+xml'}[name.split('.')[1]]
        assert r.headers['X-Content-Type-Options'] == 'nosniff'
        assert "default-src 'self'" in r.headers['Content-Security-Policy']

def test_without_flask(monkeypatch):
    monkeypatch.setitem(sys.modules, 'flask', None)
    with pytest.raises(UsageError, match=r"pip install 'dl_denoise\[app\]'"): create_app()

# ---- the real server, which may not write a byte to any file

ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore', 'PYTHONPATH': str(root)}

@pytest.fixture(scope='module')
def server():
    def no_files():
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    run = subprocess.Popen([sys.executable, '-c',
                            'import sys; from dl_denoise.apps.cli import main; '
                            'sys.exit(main(sys.argv[1:]))', 'serve', '--port', '0'],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                           text=True, env=ENV, preexec_fn=no_files if os.name == 'posix' else None)
    port = next((m for line in run.stdout if (m := re.search(r'http://127\.0\.0\.1:(\d+)', line))), None)
    assert port, run.stderr.read()
    run.port = int(port[1])
    yield run
    run.terminate()
    run.wait(20)

def ask(run, method='POST', path='/api/denoise', body=None, kind='application/json'):
    "Status, headers and JSON"
    c = http.client.HTTPConnection('127.0.0.1', run.port, timeout=60)
    try:
        c.request(method, path, body, {'Content-Type': kind})
        r = c.getresponse()
        return r.status, r.headers, json.loads(r.read())
    finally: c.close()

def form(picture, **fields):
    "Body and kind of a form with a picture"
    part = lambda head, data: b'--b\r\nContent-Disposition: form-data; ' + head + b'\r\n\r\n' + data + b'\r\n'
    return dict(body=b''.join(part(f'name="{k}"'.encode(), v.encode()) for k,v in fields.items())
                + part(b'name="image"; filename="a.png"', picture) + b'--b--\r\n',
                kind='multipart/form-data; boundary=b')

SMALL = json.dumps(dict(image=pack(DIGIT/255), width=28, height=28, models=['cae-mnist', 'median']))

def burst(run, n=200):
    with ThreadPoolExecutor(n) as pool: return list(pool.map(lambda _: ask(run, body=SMALL), range(n)))

def test_200_at_once(server):
    answers = burst(server)
    for status, headers, said in answers:
        assert status in (200, 503)
        if status == 200: assert [o['name'] for o in said['results']] == ['cae-mnist', 'median']
        else: assert headers['Retry-After'] and {*said} == {'error', 'reason'}
    assert sum(o[0] == 200 for o in answers) >= 40, 'hardly anybody was answered'
    assert ask(server, 'GET', '/healthz')[2] == dict(status='ok', waiting=0)

def test_memory_is_bounded(server):
    status = Path(f'/proc/{server.pid}/status')
    if not status.exists(): pytest.skip('needs /proc')
    megabytes = lambda: int(re.search(r'VmRSS:\s+(\d+)', status.read_text())[1])/1024
    burst(server)
    before = megabytes()
    for _ in range(3): burst(server)
    upload = form(bomb(10_000))
    for _ in range(20): assert ask(server, **upload)[0] == 413
    assert megabytes() - before < 60, f'{before:.0f} MB became {megabytes():.0f}'

def test_large_upload_touches_no_file(server):
    "The process may not write to files, so a body of 1.9 MB has to stay in memory"
    status, _, said = ask(server, **form(file(noisy(200)) + bytes(1_800_000), models='median'))
    assert status == 200 and said['width'] == 200

def raw(run, data, hang_up=False):
    "Send bytes; the answer's status, type and JSON, unless we hang up"
    with socket.create_connection(('127.0.0.1', run.port), timeout=60) as s:
        s.sendall(data)
        if hang_up: return s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        r = http.client.HTTPResponse(s)
        r.begin()
        return r.status, r.headers['Content-Type'], json.loads(r.read())

@pytest.mark.parametrize('data, status', [(b'POST /api/denoise HTTP/1.1\r\nContent-Length: '
                                           b'9000000000\r\n\r\n',
                                           413), (b'GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n', 400),
                                          (b'POST / HTTP/1.1\r\nTransfer-Encoding: odd\r\n\r\n', 501),
                                          (b'\x16\x03\x01\x02\x00\r\n\r\n', 400),
                                          (b'GET / HTTP/1.1\r\nA: ' + b'a'*280_000, 431)],
                         ids=['9 GB', 'odd length', 'odd encoding', 'not HTTP', 'long header'])
def test_not_http(server, data, status):
    "What never reaches the app is answered in JSON, too"
    code, kind, said = raw(server, data)
    assert code == status and kind == 'application/json' and {*said} == {'error', 'reason'}

def test_hang_up(server):
    "Clients that leave: in the middle of sending, and before the answer"
    large = json.dumps(dict(image=pack(np.zeros((100, 100))), width=100, height=100,
                            models=['cnn-mnist', 'win5rb-mnist'])).encode()
    head = (b'POST /api/denoise HTTP/1.1\r\nContent-Type: application/json\r\n'
            b'Content-Length: %d\r\n\r\n' % len(large))
    for data in (head, head + large[:1000], head + large, head + large): raw(server, data, hang_up=True)
    deadline = time.monotonic() + 60
    while ask(server, 'GET', '/healthz')[2]['waiting'] and time.monotonic() < deadline: time.sleep(.2)
    status, _, said = ask(server, body=SMALL)
    assert status == 200 and len(said['results']) == 2
    assert server.poll() is None

def test_a_crowd(server):
    "Good clients and bad ones; benchmarks/load.py sends two hundred for a minute"
    if not Path('/proc/self/status').exists(): pytest.skip('needs /proc')
    before = load.state(server.pid)
    tally = load.crowd(server.port, 10, 5)
    assert not tally.faults and len(tally.came) > 20, (tally.faults, tally.came)
    after = load.settled(server, before['files'])
    assert server.poll() is None and after['children'] == 0
    assert after['threads'] <= before['threads'] and after['files'] <= before['files']
    assert after['megabytes'] < before['megabytes'] + 150       # not yet warm: 50 would be for a long run

def test_batches_form(server):
    "Several that ask at once, often enough, meet in a batch"
    with ThreadPoolExecutor(8) as pool:
        answers = [r for _ in range(5) for _,_,r in pool.map(lambda _: ask(server, body=SMALL), range(16))]
    assert max(o['batch'] for r in answers for o in r['results']) > 1

def test_a_taken_port(app, server):
    with pytest.raises(DenoiseError, match=f'cannot listen on 127.0.0.1, port {server.port}: .*choose '
                                           f'another'):
        make_server(app, port=server.port)

def test_localhost(app):
    "A name may stand for several addresses"
    server = make_server(app, 'localhost', 0)
    assert server.port > 0
    server.close()
