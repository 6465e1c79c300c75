// The second tab: a part of a digit is rubbed out, and a denoiser completes it five times.
import {SETTINGS, complete} from './sampler.js';
import {$, element, paintGrey, say, tell} from './screen.js';

const NETWORK = 'blind-mnist', SIDE = 28, FIVE = 5, SIZE = SIDE*SIDE;
// A hole begins with twice the usual noise; larger steps, and an earlier end, make it faster.
export const QUICK = {...SETTINGS, firstStep: .1, start: 2, end: .05};
const HOLE = [[0, 114, 178], [0, 92, 144]];        // two blues in turn, as no grey pixel looks

let engine, picture, repaint;     // given by the page: the picture as it is now, and how to show it again
let hole = new Uint8Array(SIZE);  // 1 where a pixel is rubbed out
let seed = 1;                     // of the noise that the completions begin with
let run = 0;                      // what an older run still finds is not shown
const shown = [];                 // a figure for each completion, and one for their spread

export const available = models => models.some(o => o.name === NETWORK);
export const eraser = () => Number($('tool').value);        // its side in pixels; 0 is the pen
export const fits = () => picture().width === SIDE && picture().height === SIDE;
export const hides = i => fits() && hole[i] === 1;
export const colour = i => HOLE[(i + Math.floor(i/SIDE)) % 2];

// ---- the hole

function setHole(pixels) {
  hole = pixels;
  changed();
  repaint();
}

// A square with the eraser's side is drawn along a line, from (x0, y0) to (x1, y1), in pixels.
export function rub(x0, y0, x1, y1) {
  const next = hole.slice(), half = eraser()/2, steps = Math.ceil(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0))) || 1;
  for (let s = 0; s <= steps; s++) {
    const cx = Math.round(x0 + s/steps*(x1 - x0)), cy = Math.round(y0 + s/steps*(y1 - y0));
    for (let y = Math.max(0, cy - half); y < Math.min(SIDE, cy + half); y++)
      next.fill(1, y*SIDE + Math.max(0, cx - half), y*SIDE + Math.min(SIDE, cx + half));
  }
  setHole(next);
}

// What the pen draws over is there again.
export function giveBack(covered) { if (fits()) hole = hole.map((v, i) => covered[i] > 0 ? 0 : v); }
export function wholeAgain() { setHole(new Uint8Array(SIZE)); }

// ---- completions

function makeFigure(title) {
  const canvas = element('canvas', {width: SIDE, height: SIDE, role: 'img', ariaLabel: title});
  const figure = element('figure', {className: 'waiting'}, element('div', {className: 'pair one'}, canvas),
    element('figcaption', {}, element('strong', {textContent: title})));
  shown.push({figure, canvas});
  return figure;
}

function show(k, pixels) {
  shown[k].figure.classList.remove('waiting');
  paintGrey(shown[k].canvas, SIDE, SIDE, pixels);
}

// Twice the standard deviation of each pixel: bright where the completions differ.
function spread(images) {
  return Float32Array.from({length: SIZE}, (_, i) => {
    const values = images.map(o => o[i]), mean = values.reduce((a, b) => a + b)/FIVE;
    return 2*Math.sqrt(values.reduce((a, b) => a + (b - mean)**2, 0)/(FIVE - 1));
  });
}

const split = batch => Array.from({length: FIVE}, (_, k) => batch.subarray(k*SIZE, (k + 1)*SIZE));

function progress(part, text) {
  $('progress').value = part;
  $('progress-said').textContent = text;
}

// The noise falls by about the same factor in every step: its logarithm tells which part of the walk is done.
const part = sigma => Math.log(sigma/QUICK.start)/Math.log(QUICK.end/QUICK.start);

function setBusy(busy) { $('completions').setAttribute('aria-busy', String(busy)); }

// Another picture or another hole: what was found does not belong to it.
export function changed() {
  run++;
  setBusy(false);
  progress(0, '');
  for (const o of shown) o.figure.classList.add('waiting');
}

async function completeAll() {
  changed();
  if (!fits()) return progress(0, 'Only pictures of 28×28 can be completed.');
  if (!hole.some(Boolean)) return progress(0, 'Nothing is rubbed out yet.');
  const mine = run, start = performance.now();
  let steps = 0;
  const watch = ({t, x, sigma}) => {
    if (mine !== run) return false;
    steps = t;
    split(x).forEach((o, k) => show(k, o));
    progress(part(Math.max(...sigma)), `step ${t}, σ = ${Math.max(...sigma).toFixed(2)}`);
  };
  setBusy(true);
  progress(0, 'begins …');
  try {
    const denoise = x => engine.denoiseBatch(NETWORK, x, SIDE, SIDE);
    const found = await complete({picture: picture().pixels, hole, denoise, images: FIVE, seed, settings: QUICK, watch});
    if (!found || mine !== run) return;
    const images = split(found), text = `${steps} steps in ${((performance.now() - start)/1000).toFixed(1)} s`;
    [...images, spread(images)].forEach((o, k) => show(k, o));
    progress(1, text);
    setBusy(false);
    say(`Five completions are there: ${text}`);
    tell('rub');
  } catch (e) {
    if (mine === run) { changed(); tell('rub', e.message); }
  }
}

// ---- begin

// The network is loaded when the tab is opened; what goes wrong is told when one asks for completions.
export function opened() { engine.denoiseBatch(NETWORK, new Float32Array(SIZE), SIDE, SIDE).catch(() => {}); }

export function start(given) {
  ({engine, picture, repaint} = given);
  for (let k = 1; k <= FIVE; k++) $('completions').append(makeFigure(`Completion ${k}`));
  $('completions').append(makeFigure('Where they differ'));
  $('half').addEventListener('click', () => setHole(hole.map((_, i) => i < SIZE/2 ? 0 : 1)));
  $('whole').addEventListener('click', wholeAgain);
  $('complete').addEventListener('click', completeAll);
  $('others').addEventListener('click', () => { seed++; completeAll(); });
}
