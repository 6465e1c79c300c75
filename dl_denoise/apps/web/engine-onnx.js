// Denoising in the browser itself, by onnxruntime-web and exported networks.
//
// models.json lists the denoisers, samples.json holds the digits; both lie beside this file (tools/live.py makes them).
// runtime.json says which onnxruntime-web it is: version, the folder to take it from (another site or a local copy), and the
// hash of each of its two files. The browser itself compares: a file with another hash is refused, and nothing of it runs.

const here = new URL('./', import.meta.url);

// Fetch a file; each failure says which file, why, and what to do.
async function get(name, base = here, integrity = '') {
  const url = new URL(name, base);
  let answer;
  try { answer = await fetch(url, integrity ? {integrity} : {}); } catch {
    const there = integrity && await fetch(url, {method: 'HEAD'}).then(r => r.ok, () => false);
    throw new Error(there
      ? `${name} is not the file that this page was made with: its hash is another one, so it was not used. Reload the page; if that does not help, tell its maker.`
      : `${name} could not be loaded from ${url.host}. Is there a network? Reload the page to try again.`);
  }
  if (!answer.ok) throw new Error(`${name} could not be loaded: ${url.host} answers with ${answer.status}.`);
  return answer;
}

// The same function, but what it gave for a key is kept, also a failure: a slider that moves must not fetch again and again.
function once(f) {
  const kept = new Map();
  return (key = '') => {
    if (!kept.has(key)) kept.set(key, f(key));
    return kept.get(key);
  };
}

// One after the other: the runtime is not made for two things at once.
let last = Promise.resolve();
function inTurn(f) {
  const result = last.then(f);
  last = result.catch(() => {});
  return result;
}

const list = once(async () => (await get('models.json')).json());

const runtime = once(async () => {
  if (typeof WebAssembly !== 'object') throw new Error('This browser has no WebAssembly, which the networks need. The median filter works without.');
  const pinned = await (await get('runtime.json')).json(), folder = new URL(pinned.folder, here);
  const [script, binary] = await Promise.all([pinned.script, pinned.binary].map(async ([name, hash]) => (await get(name, folder, hash)).arrayBuffer()));
  const ort = await import(URL.createObjectURL(new Blob([script], {type: 'text/javascript'})));      // the very bytes that were compared
  ort.env.wasm.wasmBinary = binary;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  ort.env.wasm.proxy = true;      // compute in a worker, so that the page answers meanwhile
  return ort;
});

// A network, loaded when it is first asked for.
const session = once(async name => {
  const known = await list(), card = known.find(m => m.name === name && m.file);
  if (!card) throw new Error(`There is no denoiser '${name}' here. Known: ${known.map(m => m.name).join(', ')}`);
  const [ort, file] = await Promise.all([runtime(), get(card.file, here, card.hash).then(r => r.arrayBuffer())]);
  return inTurn(() => ort.InferenceSession.create(file, {executionProviders: ['wasm']}));
});

async function network(name, pixels, width, height) {
  const net = await session(name), {Tensor} = await runtime();
  return inTurn(async () => {
    const start = performance.now();
    const {clean} = await net.run({noisy: new Tensor('float32', pixels.slice(), [pixels.length/(width*height), 1, height, width])});      // a copy: the worker keeps what it gets
    return {name, pixels: clean.data, ms: performance.now() - start};
  });
}

// The median of the nine pixels around each; beyond the border its own pixels count again, as in dl_denoise.classical.
function median(name, pixels, width, height) {
  const start = performance.now(), out = new Float32Array(pixels.length), nine = new Float32Array(9);
  const within = (i, n) => Math.min(n - 1, Math.max(0, i));
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    for (let k = 0; k < 9; k++) nine[k] = pixels[within(y + Math.floor(k/3) - 1, height)*width + within(x + k%3 - 1, width)];
    out[y*width + x] = nine.sort()[4];
  }
  return {name, pixels: out, ms: performance.now() - start};
}

export const engine = {
  about: 'Everything on this page is computed in your browser; no picture leaves it.',

  models: () => list(),

  async samples() {
    const {width, height, images} = await (await get('samples.json')).json();
    return images.map(o => ({width, height, pixels: Float32Array.from(atob(o), c => c.charCodeAt(0)/255)}));
  },

  // Grey pixels row by row, clean range 0 to 1; the results are of the same form, not clipped.
  async denoise(pixels, width, height, names) {
    if (!(width > 0 && height > 0 && pixels.length === width*height)) throw new Error(`An image of ${width}×${height} has ${width*height} pixels, got ${pixels.length}.`);
    return Promise.all(names.map(async name => (name === 'median' ? median : network)(name, pixels, width, height)));
  },

  // Several images of one size, one after the other in `pixels`, by one network and in one go.
  denoiseBatch: async (name, pixels, width, height) => (await network(name, pixels, width, height)).pixels,
};
