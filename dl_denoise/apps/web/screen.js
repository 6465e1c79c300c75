// What both tabs use: elements, messages, painting.

export const $ = id => document.getElementById(id);

export function element(tag, props = {}, ...children) {
  const o = Object.assign(document.createElement(tag), props);
  o.append(...children);
  return o;
}

// Messages stay until the same place has nothing to complain about any more.
const complaints = {};
export function tell(place, text = '') {
  complaints[place] = text;
  const all = [...new Set(Object.values(complaints))].filter(Boolean).join(' ');
  if ($('message').textContent !== all) $('message').textContent = all;
  $('message').hidden = !all;
}

export const say = text => { $('said').textContent = text; };

// ---- painting

// ColorBrewer's PuOr from the blue-violet end: the map of dl_denoise.plot.DIFF
const STOPS = ['2d004b', '542788', '8073ac', 'b2abd2', 'd8daeb', 'f7f7f7', 'fee0b6', 'fdb863', 'e08214', 'b35806', '7f3b08']
  .map(o => [0, 2, 4].map(i => parseInt(o.slice(i, i + 2), 16)));
export const COLOURS = Array.from({length: 256}, (_, i) => {
  const at = i/255*(STOPS.length - 1), k = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[k].map((v, c) => v + (at - k)*(STOPS[k+1][c] - v));
});

export function paint(canvas, width, height, colour) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  const image = new ImageData(width, height), data = image.data;
  for (let i = 0, j = 0; i < width*height; i++) {
    const [r, g, b] = colour(i);
    data[j++] = r; data[j++] = g; data[j++] = b; data[j++] = 255;
  }
  canvas.getContext('2d', {willReadFrequently: true}).putImageData(image, 0, 0);      // small, and always written from here: best kept in main memory
}

const LIMIT = .5;                              // the error maps go from -LIMIT to LIMIT
export const byte = v => Math.round(255*Math.min(1, Math.max(0, v)));
export const grey = v => { const b = byte(v); return [b, b, b]; };
export const paintGrey = (canvas, w, h, x) => paint(canvas, w, h, i => grey(x[i]));
export const paintError = (canvas, w, h, x, y) => paint(canvas, w, h, i => COLOURS[byte((x[i] - y[i])/LIMIT/2 + .5)]);
