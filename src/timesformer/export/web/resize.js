// Bilinear resize with antialiasing on 8-bit pixels, as PyTorch computes it: 16-bit weights, rows first, each of the two
// passes rounded to 8 bits.

const MOST_BITS = 22;

/** For each output pixel: first input pixel and 16-bit weights, which sum up to about 2 ** bits. */
function filterOf(inputSize, outputSize) {
  const scale = inputSize / outputSize;
  const support = Math.max(scale, 1);
  const inverse = 1 / support;
  const floats = Array.from({ length: outputSize }, (_, i) => {
    const center = scale * (i + 0.5);
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), inputSize);
    const weights = Array.from({ length: end - first }, (_, j) =>
      Math.max(0, 1 - Math.abs((j + first - center + 0.5) * inverse)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => weight / total) };
  });
  const largest = floats.reduce((most, { weights }) => Math.max(most, ...weights), 0);
  let bits = 0;
  while (bits < MOST_BITS && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < 2 ** 15) bits += 1;
  const taps = floats.map(({ first, weights }) =>
    ({ first, weights: Int32Array.from(weights, (weight) => Math.trunc(0.5 + weight * 2 ** bits)) }));
  return { bits, taps };
}

/** One pass: a line is `size` values that lie `step` apart; neighbors of a line lie `across` apart. */
function pass(input, output, { bits, taps }, { lines, lineStep, outLineStep, step, across, outStep }) {
  const half = 1 << (bits - 1);
  for (let i = 0; i < taps.length; i += 1) {
    const { first, weights } = taps[i];
    for (let line = 0; line < lines; line += 1) {
      let from = line * lineStep + first * step;
      const to = line * outLineStep + i * outStep;
      for (let channel = 0; channel < across; channel += 1) {
        let sum = half;
        for (let j = 0, at = from + channel; j < weights.length; j += 1, at += step) sum += input[at] * weights[j];
        const value = sum >> bits;
        output[to + channel] = value > 255 ? 255 : value;
      }
    }
  }
}

/**
 * Resize one picture.
 * @param {Uint8Array|Uint8ClampedArray} pixels height * width * channels values, channels last.
 * @param {{height: number, width: number, channels: number}} from
 * @param {[number, number]} size Height and width of the result.
 * @returns {Uint8Array}
 */
export function resize(pixels, { height, width, channels }, [newHeight, newWidth]) {
  let current = pixels;
  if (newWidth !== width) {
    const next = new Uint8Array(height * newWidth * channels);
    pass(current, next, filterOf(width, newWidth), {
      lines: height, lineStep: width * channels, outLineStep: newWidth * channels,
      step: channels, across: channels, outStep: channels,
    });
    current = next;
  }
  if (newHeight !== height) {
    const row = newWidth * channels;
    const next = new Uint8Array(newHeight * row);
    pass(current, next, filterOf(height, newHeight), {
      lines: 1, lineStep: 0, outLineStep: 0, step: row, across: row, outStep: row,
    });
    current = next;
  }
  return current;
}
