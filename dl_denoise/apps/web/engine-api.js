// Denoising by the server that this page came from.

const FLOATS = Float32Array;      // little-endian on every machine with a browser

function pack(pixels) {
  const bytes = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength), parts = [];
  for (let i = 0; i < bytes.length; i += 8192) parts.push(String.fromCharCode(...bytes.subarray(i, i + 8192)));
  return btoa(parts.join(''));
}

const unpack = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

async function ask(path, options) {
  let r;
  try { r = await fetch(path, options); } catch { throw new Error('The server does not answer. Is dl_denoise serve still running?'); }
  const said = await r.json().catch(() => ({}));
  if (!r.ok) throw new Error(`The server says: ${said.reason ?? r.status}`);
  return said;
}

export const engine = {
  about: 'The noise is drawn in this browser; the server that this page came from removes it.',

  models: () => ask('api/models'),

  async samples() {
    const {width, height, images} = await ask('api/samples');
    return images.map(o => ({width, height, pixels: FLOATS.from(unpack(o), v => v/255)}));
  },

  async denoise(pixels, width, height, names) {
    const body = JSON.stringify({image: pack(pixels), width, height, models: names});
    const {results} = await ask('api/denoise', {method: 'POST', headers: {'Content-Type': 'application/json'}, body});
    return results.map(o => ({name: o.name, ms: o.ms, pixels: new FLOATS(unpack(o.pixels).buffer)}));
  },

  // Several images of one size, one after the other in `pixels`. Each is a request; the server runs together those that wait.
  async denoiseBatch(name, pixels, width, height) {
    const size = width*height, out = new FLOATS(pixels.length);
    await Promise.all(Array.from({length: pixels.length/size}, async (_, k) => {
      const [{pixels: clean}] = await engine.denoise(pixels.slice(k*size, (k + 1)*size), width, height, [name]);
      out.set(clean, k*size);
    }));
    return out;
  },
};
