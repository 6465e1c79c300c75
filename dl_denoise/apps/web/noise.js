// The noise models of dl_denoise.noise, drawn in the browser: the same formulas, on a Float32Array with range 0 to 1.

// What the page needs to know of each: how the slider's position t (0 to 1) becomes the parameter, and how that is told.
export const KINDS = {
  gaussian:    {title: 'Gaussian',        param: t => t,             say: v => `σ = ${v.toFixed(2)}`,                        clips: true},
  poisson:     {title: 'Poisson',         param: t => 1000**(1 - t), say: v => `${v < 10 ? v.toFixed(1) : v.toFixed(0)} photons`, clips: true},
  speckle:     {title: 'Speckle',         param: t => t,             say: v => `σ = ${v.toFixed(2)}`,                        clips: true},
  impulse:     {title: 'Random impulses', param: t => t,             say: v => `${(100*v).toFixed(0)} % of the pixels`,      clips: false},
  salt_pepper: {title: 'Salt and pepper', param: t => t,             say: v => `${(100*v).toFixed(0)} % of the pixels`,      clips: false},
  bernoulli:   {title: 'Lost pixels',     param: t => t,             say: v => `${(100*v).toFixed(0)} % of the pixels`,      clips: false},
};

// A generator of uniform numbers in [0, 1) that a seed repeats (mulberry32), good enough for noise to look at.
export function generator(seed) {
  let a = (seed*0x9E3779B1) | 0;
  return () => {
    a = (a + 0x6D2B79F5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0)/4294967296;
  };
}

// One number from the standard normal distribution (Box and Muller), from two uniform ones.
export const normal = (u, v) => Math.sqrt(-2*Math.log(1 - u))*Math.cos(2*Math.PI*v);

const LOG_FACTORIAL = [0];
for (let k = 1; k < 4096; k++) LOG_FACTORIAL.push(LOG_FACTORIAL[k-1] + Math.log(k));

// One Poisson number with mean m below 3,000, from one uniform number: probabilities are taken off it, from the most likely count outwards.
function poisson(m, u) {
  if (!(m > 0)) return 0;
  const mode = Math.floor(m);
  let up = mode, down = mode, pUp = Math.exp(mode*Math.log(m) - m - LOG_FACTORIAL[mode]), pDown = pUp;
  u -= pUp;
  while (u > 0 && (pUp > 1e-17 || pDown > 1e-17)) {
    up++; pUp *= m/up; u -= pUp;
    if (u <= 0) return up;
    if (down > 0) { pDown *= down/m; down--; u -= pDown; if (u <= 0) return down; } else pDown = 0;
  }
  return mode;
}

// x from y, the parameter p and two uniform numbers
const DRAW = {
  gaussian:    (y, p, u, v) => y + p*normal(u, v),
  poisson:     (y, p, u) => poisson(Math.max(0, y)*p, u)/p,
  speckle:     (y, p, u, v) => y*(1 + p*normal(u, v)),
  impulse:     (y, p, u, v) => u < p ? v : y,
  salt_pepper: (y, p, u, v) => u < p ? (v < .5 ? 1 : 0) : y,
  bernoulli:   (y, p, u) => u < p ? 0 : y,
};

// A noisy copy of `pixels`. Each pixel uses two numbers of the generator, whatever the kind and the strength:
// so the pattern stays while the slider moves.
export function addNoise(pixels, {kind, param, clip, seed}) {
  const rand = generator(seed), draw = DRAW[kind], cut = clip && KINDS[kind].clips, out = new Float32Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) {
    const x = draw(pixels[i], param, rand(), rand());
    out[i] = cut ? Math.min(1, Math.max(0, x)) : x;
  }
  return out;
}
