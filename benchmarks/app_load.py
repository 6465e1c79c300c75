"""How quickly the app answers: so many clients at once, and the page's slider in a browser.
Everything stays on 127.0.0.1"""
import base64, http.client, json, os, re, shutil, subprocess, sys, threading, time
import numpy as np
from fastcore.script import call_parse

def start(threads):
    "The server as a process of its own, and its port"
    words = ['serve', '--port', '0', *(['--threads', str(threads)] if threads else [])]
    run = subprocess.Popen([sys.executable, '-c',
                            'import sys; from dl_denoise.apps.cli import main; '
                            'sys.exit(main(sys.argv[1:]))', *words], stdout=subprocess.PIPE, text=True)
    port = next((m for line in run.stdout if (m := re.search(r'127\.0\.0\.1:(\d+)', line))), None)
    if not port: sys.exit('the server did not start')
    return run, int(port[1])

def load(port, clients, seconds, most, body):
    """Milliseconds of each answer, milliseconds in the network, sizes of batches, answers that were not
    200, and how many seconds all took"""
    times, inside, batches, refused = [], [], [], []
    stop = time.monotonic() + seconds
    def client():
        c = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
        while time.monotonic() < stop and len(times) < most:
            t = time.perf_counter()
            c.request('POST', '/api/denoise', body, {'Content-Type': 'application/json'})
            r = c.getresponse()
            said = json.loads(r.read())
            if r.status != 200:
                refused.append(r.status)
                time.sleep(.05)
                continue
            times.append((time.perf_counter() - t)*1000)
            inside.append(said['results'][0]['ms'])
            batches.append(said['results'][0]['batch'])
        c.close()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for o in threads: o.start()
    for o in threads: o.join()
    return times, inside, batches, refused, time.perf_counter() - began

def slider(port, model, seconds):
    "Results on the screen per second while the slider moves with every frame; None without a browser"
    chromium = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    try: from playwright.sync_api import sync_playwright
    except ImportError: return
    if not chromium: return
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        page = b.new_page()
        page.goto(f'http://127.0.0.1:{port}/')
        page.locator('#samples button').first.wait_for()
        for box in page.locator('#denoisers input').all():
            box.set_checked(box.get_attribute('data-name') == model)
        while page.get_attribute('#results', 'aria-busy') == 'true': time.sleep(.05)
        shown, frames, took = page.evaluate('''async seconds => {
            const s = document.getElementById('strength');
            const count = () => Number(document.body.dataset.updates);
            const before = count(), start = performance.now();
            let frames = 0, t = start;
            while (t - start < seconds*1000) {
                s.value = .5 + .4*Math.sin((t - start)/300);
                s.dispatchEvent(new Event('input', {bubbles: true}));
                t = await new Promise(requestAnimationFrame);
                frames++;
            }
            return [count() - before, frames, (performance.now() - start)/1000]; }''', seconds)
        b.close()
        return shown/took, frames/took

@call_parse
def main(
    clients:int=8,              # Simultaneous clients
    seconds:float=10,           # Stop after so long
    most:int=2000,              # or after so many answers
    model:str='cae-mnist',      # The denoiser to ask
    threads:int=0               # Threads that denoise; 0: as the command chooses
):
    "Load the app on this machine, which should be idle, and report the median and the 99th percentile"
    run, port = start(threads)
    try:
        image = np.random.default_rng(0).random((28, 28), dtype=np.float32)
        body = json.dumps(dict(image=base64.b64encode(image.tobytes()).decode(), width=28, height=28,
                               models=[model]))
        load(port, 1, 2, 50, body)
        busy = f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else 'unknown'
        print(f'{model}, one image of 28×28 for each request; load of the machine before: {busy}')
        for n in dict.fromkeys((1, clients)):
            times, inside, batches, refused, took = load(port, n, seconds, most, body)
            print(f'{n:3} clients   median {np.median(times):.2f} ms   99 % within '
                  f'{np.percentile(times, 99):.2f} ms   {len(times)/took:.1f} answers/s   '
                  f'in the network {np.median(inside):.2f} ms, batches of {np.mean(batches):.1f}   '
                  f'{len(times)} answers, {len(refused)} refused')
        found = slider(port, model, min(seconds, 5))
        if found: print('slider: {:.1f} updates on the screen per second, at {:.1f} frames'.format(*found))
        else: print('slider: not measured, there is no Chromium or no playwright')
    finally:
        run.terminate()
        run.wait(10)
