// The sampler of dl_denoise.restoring: from noise to images that fit what is known of them.
// `walk` is that of restoring/sampling.py, `fitting` the `solve` of a mask in restoring/missing.py; the
// equations have the numbers that they have on the page “Digits out of nothing”.
// A batch of images is one Float32Array: image after image, row by row, clean range 0 to 1.
import {generator, normal} from './noise.js';

export const SETTINGS = {
  firstStep: .05,   // the part of the way that the first step goes
  beta: .1,         // 0: as much fresh noise as was taken; 1: none
  start: 1,         // standard deviation of the first noise
  grey: .13,        // its mean: that of digits
  end: .02,         // an image is done when this much noise is left in it
  most: 500,        // but no more steps than this
};

// A function that draws as many numbers from the standard normal distribution as one asks for.
export function normals(seed) {
  const rand = generator(seed);
  return n => Float32Array.from({length: n}, () => normal(rand(), rand()));
}

// Corrects pixel i of a guess: where the picture is known, its pixel, and very little of the guess.
export const fitting = (picture, hole, rho = 1e-4) =>
  (guess, i) => hole[i] ? guess : (picture[i] + rho*guess)/(1 + rho);

// The noise that is left in each image, told by the size of the pull where hole[i] = 1: equation (2).
function noiseLeft(guess, x, hole) {
  const size = hole.length, sum = new Array(x.length/size).fill(0), lost = hole.reduce((a, b) => a + b);
  for (let i = 0; i < x.length; i++) sum[Math.floor(i/size)] += hole[i % size]*(guess[i] - x[i])**2;
  return sum.map(v => Math.sqrt(v/Math.max(lost, 1)));
}

// One step of all images: equations (1), (3) and (4). Those that are done stay as they are.
function step(x, guess, t, sigma, done, z, hole, {firstStep, beta}) {
  const size = hole.length;
  const h = firstStep*t/(1 + firstStep*(t - 1));
  const fresh = Math.sqrt((1 - beta*h)**2 - (1 - h)**2);
  return x.map((v, i) => {
    const k = Math.floor(i/size);
    return done[k] ? v : v + h*(guess[i] - v) + fresh*sigma[k]*z[i]*hole[i % size];
  });
}

// Take steps until every image is done; those that are done wait for the others.
// `denoise` takes a batch and promises a batch, `draw` gives fresh noise, `known` corrects a pixel of a guess.
// There is noise only where hole[i] = 1.
// `watch` is called after each step; if it returns false, the walk ends, and there are no images.
export async function walk({x, hole, denoise, draw, known = v => v, settings = SETTINGS, watch}) {
  const size = hole.length, images = x.length/size, done = new Array(images).fill(false);
  for (let t = 1; ; t++) {
    const clean = await denoise(x);
    const guess = clean.map((v, i) => known(Math.min(1, Math.max(0, v)), i % size));
    const sigma = noiseLeft(guess, x, hole);
    for (let k = 0; k < images; k++) done[k] ||= sigma[k] <= settings.end;
    if (t > settings.most || done.every(Boolean)) return guess;
    x = step(x, guess, t, sigma, done, draw(x.length), hole, settings);
    if (watch?.({t, x, sigma}) === false) return null;
  }
}

// Pictures that fit one in which the pixels with hole[i] = 1 are lost, each begun with other noise.
export function complete({picture, hole, denoise, images = 5, seed = 1, settings = SETTINGS, watch}) {
  const draw = normals(seed), size = picture.length;
  const x = draw(images*size).map((z, i) => hole[i % size] ? settings.grey + settings.start*z : picture[i % size]);
  return walk({x, hole, denoise, draw, known: fitting(picture, hole), settings, watch});
}
