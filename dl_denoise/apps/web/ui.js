// The page: what is drawn, sampled or loaded is `clean`; noise makes `noisy` of it; an engine makes results of that.
import {KINDS, addNoise} from './noise.js';
import * as rubOut from './rub.js';
import {$, COLOURS, element, grey, paint, paintError, paintGrey, say, tell} from './screen.js';

const {engine} = await import(`./engine-${document.querySelector('meta[name=engine]').content}.js`);

const BLANK = {width: 28, height: 28, pixels: new Float32Array(28*28)};
let picture = BLANK;                           // the clean picture; never changed in place
let seed = 1;                                  // of the noise
let now = null;                                // clean and noisy, as they are on the screen
const cards = new Map();                       // name -> what belongs to one figure

// ---- figures

function makeCard(name, title) {
  const canvas = what => element('canvas', {width: 28, height: 28, role: 'img', ariaLabel: `${title}, ${what}`});
  const card = {name, title, shown: canvas('picture'), error: canvas('error'), busy: false, stale: false};
  for (const k of ['mse', 'psnr', 'ms']) card[k] = element('span', {className: k});
  card.figure = element('figure', {className: 'waiting'}, element('div', {className: 'pair'}, card.shown, card.error),
    element('figcaption', {}, element('strong', {textContent: title}), element('span', {}, 'MSE ', card.mse), element('span', {}, card.psnr, card.ms)));
  card.figure.dataset.name = name;
  cards.set(name, card);
  return card;
}

function mse(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] - y[i])**2;
  return sum/x.length;
}

function show(card, x, {width, height, clean}, ms) {
  card.figure.classList.remove('waiting');
  paintGrey(card.shown, width, height, x);
  paintError(card.error, width, height, x, clean);
  card.value = mse(x, clean);
  card.mse.textContent = card.value.toFixed(4);
  card.psnr.textContent = card.value > 0 ? `${(-10*Math.log10(card.value)).toFixed(1)} dB` : '∞ dB';
  card.ms.textContent = ms === undefined ? '' : `${ms.toFixed(1)} ms`;
}

const chosen = () => [...cards.values()].filter(o => o.name !== 'noisy' && !o.figure.hidden);

function markBest() {
  const values = chosen().map(o => o.value).filter(o => o !== undefined), best = Math.min(...values);
  for (const o of chosen()) o.figure.classList.toggle('best', values.length > 1 && o.value === best);
}

function settle() {       // after each result: the best one, the count, and the numbers for those who listen
  markBest();
  document.body.dataset.updates++;
  count();
  clearTimeout(settle.timer);
  settle.timer = setTimeout(() => say(`Mean squared error: noisy ${cards.get('noisy').value.toFixed(3)}, `
    + chosen().map(o => `${o.title} ${o.value?.toFixed(3) ?? 'not yet'}`).join(', ')), 900);
}

const times = [];
function count() {
  const t = performance.now();
  times.push(t);
  while (times[0] < t - 1000) times.shift();
  clearTimeout(count.timer);
  count.timer = setTimeout(() => { $('rate').textContent = ''; }, 1500);
  if (times.length > 1) $('rate').textContent = `${times.length} results in the last second.`;
}

// ---- from a change to results

function setBusy(card, busy) {
  card.busy = busy;
  $('results').setAttribute('aria-busy', String([...cards.values()].some(o => o.busy)));
}

// Each denoiser has one request under way at most. When its answer comes and things have changed meanwhile, it starts on the
// latest: what lay between is left out, and a slow denoiser holds up no quick one.
async function refresh(card) {
  if (card.busy) { card.stale = true; return; }
  if (card.figure.hidden || !now) { setBusy(card, false); return; }
  setBusy(card, true);
  const job = now;
  try {
    const [{pixels, ms}] = await engine.denoise(job.noisy, job.width, job.height, [card.name]);
    show(card, pixels, job, ms);
    settle();
    tell(card.name);
  } catch (e) { tell(card.name, e.message); }
  if (!card.stale) setBusy(card, false);
  else { card.busy = false; card.stale = false; setTimeout(refresh, 0, card); }
}

function update() {
  const {width, height, pixels: clean} = picture, kind = $('kind').value, param = KINDS[kind].param(Number($('strength').value));
  now = {width, height, clean, noisy: addNoise(clean, {kind, param, clip: $('clip').checked, seed})};
  const said = KINDS[kind].say(param);
  $('strength-said').textContent = said;
  $('strength').setAttribute('aria-valuetext', said);
  $('clip').disabled = !KINDS[kind].clips;
  paintPicture();
  paintGrey($('clean-copy'), width, height, clean);
  show(cards.get('noisy'), now.noisy, now);
  if (!rubbing()) for (const card of chosen()) refresh(card);      // else when their tab is opened again
}

// The picture that one draws on; in the second tab with its hole.
function paintPicture() {
  const {width, height, pixels} = picture;
  paint($('clean'), width, height, i => rubbing() && rubOut.hides(i) ? rubOut.colour(i) : grey(pixels[i]));
}

function setPicture(o, sample = null) {
  picture = o;
  for (const b of $('samples').children) b.setAttribute('aria-pressed', String(b === sample));
  tell('file');
  rubOut.changed();
  update();
}

// ---- drawing

const pen = {x: 14, y: 14, down: false};       // in units of 28 to the longer side
const erasing = () => rubbing() && rubOut.eraser() > 0 && rubOut.fits();

function stroke(x0, y0, x1, y1) {
  if (erasing()) return rubOut.rub(x0, y0, x1, y1);
  const {width, height} = picture, covered = new Float32Array(width*height), unit = Math.max(width, height)/28, radius = 1.1*unit;
  const [ax, ay, bx, by] = [x0, y0, x1, y1].map(o => o*unit), long = (bx-ax)**2 + (by-ay)**2;
  for (let i = 0, y = .5; y < height; y++) for (let x = .5; x < width; x++, i++) {
    const t = long ? Math.min(1, Math.max(0, ((x-ax)*(bx-ax) + (y-ay)*(by-ay))/long)) : 0;
    const distance = Math.hypot(x - ax - t*(bx-ax), y - ay - t*(by-ay));
    covered[i] = Math.min(1, Math.max(0, radius + .5*unit - distance)/unit);
  }
  rubOut.giveBack(covered);
  setPicture({width, height, pixels: picture.pixels.map((v, i) => Math.max(v, covered[i]))});
}

function place(e) {       // where the pointer is on the picture
  const box = $('clean').getBoundingClientRect(), most = Math.max(picture.width, picture.height);
  return [(e.clientX - box.left)/box.width*picture.width/most*28, (e.clientY - box.top)/box.height*picture.height/most*28];
}

let last = null;
$('clean').addEventListener('pointerdown', e => {
  if (e.button) return;
  $('clean').setPointerCapture(e.pointerId);
  last = place(e);
  hover(last);
  stroke(...last, ...last);
});
$('clean').addEventListener('pointermove', e => {
  const to = place(e);
  if (last || e.pointerType === 'mouse') hover(to);
  if (!last) return;
  stroke(...last, ...to);
  last = to;
});
for (const o of ['pointerup', 'pointercancel']) $('clean').addEventListener(o, () => { last = null; });
$('clean').addEventListener('pointerleave', () => { if (!last) $('pen').hidden = true; });

// The eraser's square goes with the pointer; the pen needs no mark, one sees its line.
function hover([x, y]) {
  if (!erasing()) { $('pen').hidden = true; return; }
  Object.assign(pen, {x: Math.round(x), y: Math.round(y)});
  showPen(last !== null);
}

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
function showPen(down = pen.down) {
  const most = Math.max(picture.width, picture.height);
  Object.assign($('pen').style, {left: `${pen.x/28*most/picture.width*100}%`, top: `${pen.y/28*most/picture.height*100}%`});
  const side = erasing() ? `${rubOut.eraser()/28*100}%` : '';      // else as in style.css
  Object.assign($('pen').style, {width: side, height: side});
  $('pen').classList.toggle('eraser', erasing());
  $('pen').classList.toggle('down', down);
  $('pen').hidden = false;
}
$('clean').addEventListener('keydown', e => {
  const most = Math.max(picture.width, picture.height), to = ARROWS[e.key];
  if (to) {
    const x = Math.min(28*picture.width/most, Math.max(0, pen.x + to[0])), y = Math.min(28*picture.height/most, Math.max(0, pen.y + to[1]));
    if (pen.down) stroke(pen.x, pen.y, x, y);
    Object.assign(pen, {x, y});
  } else if (e.key === ' ') {
    pen.down = !pen.down;
    say(`${erasing() ? 'Eraser' : 'Pen'} ${pen.down ? 'down' : 'lifted'}`);
    if (pen.down) stroke(pen.x, pen.y, pen.x, pen.y);
  } else if (e.key === 'Delete' || e.key === 'Backspace') clear();
  else return;
  e.preventDefault();
  showPen();
});
$('clean').addEventListener('focus', () => { if ($('clean').matches(':focus-visible') && !last) showPen(); });
$('clean').addEventListener('blur', () => { $('pen').hidden = true; pen.down = false; });

function clear() {
  rubOut.wholeAgain();
  setPicture(BLANK);
}
$('clear').addEventListener('click', clear);
$('invert').addEventListener('click', () => setPicture({...picture, pixels: picture.pixels.map(v => 1 - v)}));

// ---- pictures from files

let loaded = null;        // the decoded file, in case another size is chosen

// Halving first keeps fine detail from turning into noise of its own.
function scaled(source, sx, sy, sw, sh, width, height) {
  const canvas = new OffscreenCanvas(Math.max(width, sw >> 1), Math.max(height, sh >> 1));
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#000';
  context.fillRect(0, 0, canvas.width, canvas.height);
  const far = sw > 2*width && sh > 2*height, [w, h] = far ? [sw >> 1, sh >> 1] : [width, height];
  context.drawImage(source, sx, sy, sw, sh, 0, 0, w, h);
  return far ? scaled(canvas, 0, 0, w, h, width, height) : context.getImageData(0, 0, width, height).data;
}

function useLoaded() {
  const side = Number($('size').value), {width: w, height: h} = loaded, square = Math.min(w, h), shrink = Math.min(1, side/Math.max(w, h));
  const [width, height] = side === 28 ? [28, 28] : [Math.max(1, Math.round(w*shrink)), Math.max(1, Math.round(h*shrink))];
  const data = side === 28 ? scaled(loaded, (w - square)/2, (h - square)/2, square, square, 28, 28) : scaled(loaded, 0, 0, w, h, width, height);
  setPicture({width, height, pixels: Float32Array.from({length: width*height}, (_, i) => (.299*data[4*i] + .587*data[4*i+1] + .114*data[4*i+2])/255)});
}

$('file').addEventListener('change', async () => {
  const file = $('file').files[0];
  if (!file) return;
  try { loaded = await createImageBitmap(file); }
  catch { tell('file', `“${file.name}” is not a picture that this browser can read. Choose a PNG, JPEG or WebP file; the picture on the page is as it was.`); return; }
  finally { $('file').value = ''; }
  useLoaded();
});
$('size').addEventListener('change', () => { if (loaded) useLoaded(); });

// ---- noise and denoisers

for (const [name, o] of Object.entries(KINDS)) $('kind').append(element('option', {value: name, textContent: o.title}));
for (const id of ['strength', 'kind', 'clip']) $(id).addEventListener('input', update);
$('again').addEventListener('click', () => { seed++; update(); });

function addDenoiser({name, title, info, on}) {
  const card = makeCard(name, title), box = element('input', {type: 'checkbox', checked: on !== false});
  box.dataset.name = name;
  card.figure.hidden = !box.checked;
  $('infos').append(element('dt', {textContent: title}), element('dd', {textContent: info}));
  box.addEventListener('change', () => { card.figure.hidden = !box.checked; markBest(); refresh(card); });
  $('denoisers').append(element('label', {className: 'check'}, box, ` ${title}`));
  $('results').append(card.figure);
}

function addSample(o, i) {
  const canvas = element('canvas', {ariaHidden: 'true'}), button = element('button', {type: 'button', ariaLabel: `Sample ${i + 1}`}, canvas);
  paintGrey(canvas, o.width, o.height, o.pixels);
  button.addEventListener('click', () => setPicture(o, button));
  $('samples').append(button);
}

// ---- the two tabs: the picture is the same, and what is done with it

const TABS = ['denoise', 'rub-out'];
const rubbing = () => !$('rub-out').hidden;

function openTab(name) {
  for (const o of TABS) {
    $(o).hidden = o !== name;
    $(`tab-${o}`).setAttribute('aria-selected', String(o === name));
    $(`tab-${o}`).tabIndex = o === name ? 0 : -1;
  }
  if (rubbing()) rubOut.opened();
  penHelp();
  update();
}

function penHelp() {
  $('clean').setAttribute('aria-label', erasing() ? 'Picture, to rub out parts of' : 'Clean picture, to draw on');
  $('pen-help').textContent = erasing()
    ? 'Rub out with mouse or finger. With keys: arrows move the square, space puts it down or lifts it.'
    : 'Draw with mouse or finger. With keys: arrows move the pen, space puts it down or lifts it.';
}
$('tool').addEventListener('change', penHelp);

for (const name of TABS) {
  $(`tab-${name}`).addEventListener('click', () => {
    history.replaceState(null, '', `#${name}`);      // the address leads back to this tab
    openTab(name);
  });
  $(`tab-${name}`).addEventListener('keydown', e => {
    if (e.key !== 'ArrowLeft' && e.key !== 'ArrowRight') return;
    const other = $(`tab-${TABS.find(o => o !== name)}`);
    other.focus();
    other.click();
  });
}

// ---- begin

paint($('scale-bar'), 1, 101, i => COLOURS[Math.round((100 - i)*2.55)]);
$('results').append(makeCard('noisy', 'Noisy').figure);
$('about').textContent = engine.about;
rubOut.start({engine, picture: () => picture, repaint: paintPicture});
openTab(TABS.find(o => location.hash === `#${o}`) ?? 'denoise');
try {
  const [models, samples] = await Promise.all([engine.models(), engine.samples()]);
  models.forEach(addDenoiser);
  $('tabs').hidden = !rubOut.available(models);
  samples.forEach(addSample);
  if (samples.length) setPicture(samples[0], $('samples').firstElementChild);
} catch (e) { tell('engine', e.message); }
