"""The page that needs no server, as a folder: the front end, exported networks, sample digits, and
onnxruntime-web from a local copy if wanted"""
import argparse, base64, functools, hashlib, http.server, json, os, re, shutil, subprocess, sys
import tarfile, tempfile, threading
from contextlib import contextmanager
from pathlib import Path
import badges

root = Path(__file__).resolve().parent.parent
WEB = root/'dl_denoise'/'apps'/'web'
# switched on at the start? The others are loaded when chosen
NETWORKS = {'cnn-mnist': True, 'cae-mnist': True, 'dncnn-mnist': False, 'win5rb-mnist': False,
            'blind-mnist': False}

def integrity(path):
    "The hash of a file, as a browser wants it"
    return 'sha384-' + base64.b64encode(hashlib.sha384(Path(path).read_bytes()).digest()).decode()

def policy(runtime):
    """What the page may load: its own files and the runtime's; `blob:` is the runtime's script, after
    its hash was compared"""
    away = re.match(r'https?://[^/]+', runtime['folder'])
    return ("default-src 'self'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
            "img-src 'self' blob: data:; "
            f"connect-src 'self'{f' {away[0]}' if away else ''}; object-src 'none'; base-uri 'none'; "
            f"form-action 'none'")

def page(html, runtime):
    "index.html with the engine that needs no server, and a policy of its own, since nobody sends headers"
    html, n = re.subn(r'<meta name="engine" content="\w+">', '<meta name="engine" content="onnx">', html)
    html, m = re.subn(r'(<meta charset="utf-8">)',
                      rf'\1\n<meta http-equiv="Content-Security-Policy" content="{policy(runtime)}">', html)
    settings = badges.settings()
    home = f"{settings['doc_host']}{settings['doc_baseurl']}/index.html"
    back = f'<nav><a href="{home}" target="_top">{settings["title"]}</a></nav>'
    html, k = re.subn('<header>', rf'<header>\n  {back}', html)
    if (n, m, k) != (1, 1, 1):
        sys.exit('index.html must have one <meta charset="utf-8">, one <meta name="engine" content="..."> '
                 'and one <header>')
    return html

def fetch(runtime, folder):
    "Get the runtime's files into `folder` by npm"
    wanted = [o[0] for o in (runtime['script'], runtime['binary'])]
    with tempfile.TemporaryDirectory() as tmp:
        try:
            package = f"{runtime['name']}@{runtime['version']}"
            subprocess.run(['npm', 'pack', '--silent', '--pack-destination', tmp, package], check=True,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        except FileNotFoundError:
            sys.exit(f"npm, which fetches {runtime['name']}, is not installed; install it, or put "
                     f"{' and '.join(wanted)} into {folder}")
        except subprocess.SubprocessError as e:
            sys.exit(f"npm could not fetch {runtime['name']} {runtime['version']}; is there a "
                     f"network?\n{getattr(e, 'stderr', None) or e}")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(next(Path(tmp).glob('*.tgz'))) as tar:
            for name in wanted: (folder/name).write_bytes(tar.extractfile(f'package/dist/{name}').read())

def local_copy(out, runtime, folder):
    """Copy the runtime's two files from `folder`, if they are the pinned ones;
    returns the setting that takes them from there"""
    folder = Path(folder)
    if not (folder/runtime['binary'][0]).exists(): fetch(runtime, folder)
    (out/'runtime').mkdir(exist_ok=True)
    for name, pinned, _ in (runtime['script'], runtime['binary']):
        if not (folder/name).is_file() or integrity(folder/name) != pinned:
            sys.exit(f"{folder/name} is not that of {runtime['name']} {runtime['version']}: its hash is "
                     f"not the one in runtime.json; delete it and run this again")
        shutil.copyfile(folder/name, out/'runtime'/name)
    return {**runtime, 'folder': 'runtime/'}

def denoisers(out, networks):
    "Export the networks; what models.json says of them and of the median filter"
    from dl_denoise.apps.server import denoiser_list
    from dl_denoise.apps.export import export_onnx
    listed = [o for o in denoiser_list() if o['name'] in networks or o['name'] == 'median']
    for o in listed:
        if o['name'] == 'median': continue
        e = export_onnx(o['name'], out/f"{o['name']}.onnx", overwrite=True)
        o.update(on=networks[o['name']], file=e['file'].name, bytes=e['bytes'], hash=integrity(e['file']),
                 info=f"{o['info']}; {e['bytes']/1e6:.1f} MB, loaded when first chosen")
    return listed

def live(out, runtime=None, networks=NETWORKS):
    "Make the folder; returns its files"
    from dl_denoise.apps.server import sample_digits
    out, pinned = Path(out), json.loads((WEB/'runtime.json').read_text(encoding='utf8'))
    out.mkdir(parents=True, exist_ok=True)
    if runtime: pinned = local_copy(out, pinned, runtime)
    for p in WEB.iterdir():
        if p.suffix in ('.css', '.js', '.svg') and p.name != 'engine-api.js': shutil.copyfile(p, out/p.name)
    (out/'index.html').write_text(page((WEB/'index.html').read_text(encoding='utf8'), pinned),
                                  encoding='utf8')
    for name, o in (('runtime', pinned), ('models', denoisers(out, networks)), ('samples', sample_digits())):
        (out/f'{name}.json').write_text(json.dumps(o, indent=1, ensure_ascii=False) + '\n', encoding='utf8')
    return sorted(p for p in out.rglob('*') if p.is_file())

# ---- to look at it

class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, '.js': 'text/javascript',
                      '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.json': 'application/json'}
    def log_message(self, *args): pass

@contextmanager
def served(folder):
    "Serve a folder on this machine; gives the address"
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0),
                                             functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}/'
    finally: server.shutdown(); server.server_close()

@contextmanager
def chromium():
    "A browser; LookupError if there is none"
    program = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not program: raise LookupError('there is no Chromium')
    try: from playwright.sync_api import sync_playwright
    except ImportError: raise LookupError('the package playwright is not installed') from None
    with sync_playwright() as p:
        as_root = hasattr(os, 'geteuid') and os.geteuid() == 0
        browser = p.chromium.launch(executable_path=program, args=['--no-sandbox'] if as_root else [])
        try: yield browser
        finally: browser.close()

def show_denoise(page):
    "A sample, and what the networks make of it under noise"
    page.check('input[data-name=dncnn-mnist]')
    page.locator('#samples button').nth(8).click()
    for n in ('cae-mnist', 'dncnn-mnist'):
        page.wait_for_function(r"n => /\d/.test(document.querySelector(`figure[data-name=${n}] "
                               r".mse`)?.textContent)", arg=n, timeout=120_000)
    page.wait_for_timeout(3000)

def show_rub_out(page):
    "A sample without its lower half, and five completions"
    page.locator('#samples button').nth(0).click()
    page.click('#half')
    for _ in range(2):                      # the first time has to wait for the network
        page.click('#complete')
        page.wait_for_function("() => /steps in/.test(document.querySelector('#progress-said').textContent)",
                               timeout=120_000)

TABS = {'denoise': show_denoise, 'rub-out': show_rub_out}

def picture(folder, file, tab='denoise'):
    "What a tab of the page shows after a few clicks, as a JPEG"
    with served(folder) as url, chromium() as browser:
        page = browser.new_page(viewport=dict(width=1240, height=700))
        page.goto(f'{url}#{tab}')
        TABS[tab](page)
        page.screenshot(path=file, type='jpeg', quality=60, full_page=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('out', help='the folder to make, for example _docs/live')
    p.add_argument('--runtime', help="copy onnxruntime-web from this folder (npm fetches it there if it "
                                     "is missing); by default the page loads it from the address in "
                                     "runtime.json")
    p.add_argument('--pictures', help='photograph each tab into a JPEG file in this folder (needs Chromium '
                                      'and playwright)')
    args = p.parse_args()
    for f in live(args.out, args.runtime): print(f'{f.stat().st_size/1e3:10,.1f} kB  {f}')
    for tab in TABS if args.pictures else (): picture(args.out, f'{args.pictures}/{tab}.jpg', tab)
