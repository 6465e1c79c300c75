"""The automation of the public repository: its workflows call targets that there are, on the Pythons
that are promised, with no more rights than they need"""
import re, subprocess
import pytest, yaml
from conftest import root
import badges

FILES = sorted(root.glob('.github/workflows/*.yml'))
every = pytest.mark.parametrize('file', FILES, ids=lambda f: f.name)

def load(file):
    flow = yaml.safe_load(file.read_text(encoding='utf8'))
    # YAML 1.1 takes the word `on` for a yes
    return {('on' if k is True else k): v for k,v in flow.items()}
def steps(flow): return [s for j in flow['jobs'].values() for s in j['steps']]
def expanded(text, job):
    "`text` once for each value of the job's matrix"
    matrix = job.get('strategy', {}).get('matrix', {})
    rows = matrix.get('include') or [{k: v} for k,vs in matrix.items() for v in vs] or [{}]
    return {re.sub(r'\$\{\{ matrix\.(\w+) \}\}', lambda m: str(row[m[1]]), text) for row in rows}

def test_there(): assert [f.name for f in FILES] == ['docs.yml', 'release.yml', 'test.yml']

@every
def test_frame(file):
    flow = load(file)
    assert {*flow} == {'name', 'on', 'permissions', 'concurrency', 'jobs'}
    assert flow['permissions'] == {'contents': 'read'}
    assert flow['concurrency']['group']
    for name, job in flow['jobs'].items():
        assert job['runs-on'] == 'ubuntu-latest' and 5 <= job['timeout-minutes'] <= 90, name
        assert job.get('needs') in (None, *flow['jobs'])
        writes = {k for k,v in job.get('permissions', {}).items() if v == 'write'}
        assert writes == {('docs.yml', 'deploy'): {'pages', 'id-token'},
                          ('release.yml', 'publish'): {'id-token'}}.get((file.name, name), set())
        if writes:
            assert 'environment' in job
            assert not [s for s in job['steps'] if 'run' in s], 'a job that may write runs no code of ours'
    for s in steps(flow):
        assert ('uses' in s) != ('run' in s)
        if 'uses' in s:
            assert re.fullmatch(r'(actions|quarto-dev|pypa)/[\w-]+(/setup)?@(release/)?v\d+',
                                s['uses']), f"{s['uses']}: pinned to its major version?"
        if s.get('uses', '').startswith('actions/setup-python'):
            assert s['with']['cache'] == 'pip' and (root/s['with']['cache-dependency-path']).exists()

@every
def test_targets(file):
    "All that runs is make, and make knows what it is to do"
    for job in load(file)['jobs'].values():
        for s in job['steps']:
            for line in (l for o in s.get('run', '').splitlines() for l in expanded(o, job)):
                words = line.split()
                assert words[0] == 'make', line
                done = subprocess.run(['make', '-n', words[1], 'TAG=v0'], cwd=root, capture_output=True,
                                      text=True, stdin=subprocess.DEVNULL)
                assert done.returncode == 0, done.stderr

def test_help():
    "make help names every target"
    targets = re.search(r'^\.PHONY: help (.*)', (root/'Makefile').read_text(encoding='utf8'),
                        flags=re.M)[1].split()
    told = subprocess.run(['make', 'help'], cwd=root, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL).stdout
    assert {*targets} - {*re.findall(r'make ([\w-]+)', told)} == {'build'}, 'build is another word for wheel'

def test_pythons(setup):
    """Tested are the Pythons of the classifiers, from the least that is asked for;
    fastai's oldest on the oldest, its newest on the newest"""
    jobs, told = load(root/'.github/workflows/test.yml')['jobs'], setup.pythons
    assert jobs['test']['strategy']['matrix']['python'] == told and told[0] == badges.settings()['min_python']
    pairs = jobs['fastai']['strategy']['matrix']['include']
    assert {o['fastai']: o['python'] for o in pairs} == dict(oldest=told[0], newest=told[-1])
    for f in FILES:
        for s in steps(load(f)):
            if v := s.get('with', {}).get('python-version'): assert v.startswith('${{') or v in told

def test_release():
    "Only a tag publishes, and only what was built from it and has its version"
    flow = load(root/'.github/workflows/release.yml')
    assert flow['on'] == {'push': {'tags': ['v*']}} and flow['jobs']['publish']['needs'] == 'build'
    assert 'make wheel TAG="$GITHUB_REF_NAME"' in [s.get('run') for s in flow['jobs']['build']['steps']]
    version = badges.settings()['version']
    tag = lambda t: subprocess.run(['make', '-n', 'wheel', f'TAG={t}'], cwd=root, capture_output=True,
                                   text=True, stdin=subprocess.DEVNULL).stdout
    check = next(o for o in tag('v9.9.9').splitlines() if o.startswith('[ '))
    assert subprocess.run(check, shell=True, capture_output=True).returncode == 1
    assert subprocess.run(check.replace('9.9.9', version), shell=True).returncode == 0

def test_citation():
    "CITATION.cff and CHANGELOG.md say what settings.ini says"
    cfg, cite = badges.settings(), yaml.safe_load((root/'CITATION.cff').read_text(encoding='utf8'))
    assert (cite['title'], cite['version'], cite['repository-code'],
            cite['url']) == (cfg['lib_name'], cfg['version'], cfg['git_url'],
                             cfg['doc_host']+cfg['doc_baseurl'])
    assert cite['keywords'] == cfg['keywords'].split()
    assert [o['name'] for o in cite['authors']] == [cfg['author']]
    log = (root/'CHANGELOG.md').read_text(encoding='utf8')
    assert f"{cfg['git_url']}/" in log
    assert re.search(rf"^## \[(Unreleased|{re.escape(cfg['version'])})\]", log, flags=re.M)
    assert cfg['version'] in log
