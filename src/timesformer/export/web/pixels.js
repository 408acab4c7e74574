// Decoded pictures as upright RGB: the conversion of 4:2:0 and 4:2:2 pictures is bit by bit that of FFmpeg's scaler
// on x86, which the Python library uses. Odd heights, other layouts and more than 8 bits may differ by a few levels.

// ITU-T H.273 matrices in 16.16 fixed point: red from V, blue from U, green from U and V
const MATRICES = {
  bt709: [117489, 138438, 13975, 34925],
  bt470bg: [104597, 132201, 25675, 53279],
  smpte170m: [104597, 132201, 25675, 53279],
  "bt2020-ncl": [110013, 140363, 12277, 42626],
};

const PLANAR = { I420: [2, 2, 8], I420A: [2, 2, 8], I422: [2, 1, 8], I444: [1, 1, 8], I420P10: [2, 2, 10],
  I420P12: [2, 2, 12], I422P10: [2, 1, 10], I422P12: [2, 1, 12], I444P10: [1, 1, 10], I444P12: [1, 1, 12] };

function rounded16(value) {
  return Math.max(-0x7fff, Math.min(0x7fff, Math.floor((value + 0x8000) / 0x10000)));
}

/** Coefficients of the conversion for a `VideoColorSpace`; an unknown matrix is that of standard definition. */
export function coefficients({ matrix, fullRange }) {
  let [redV, blueU, greenU, greenV] = MATRICES[matrix] ?? MATRICES.smpte170m;
  let luma = 65536;
  let black = 16 * 65536;
  if (fullRange) {
    [redV, blueU, greenU, greenV] = [redV, blueU, greenU, greenV].map((value) => Math.trunc((value * 224) / 255));
    black = 0;
  } else {
    luma = Math.trunc((luma * 255) / 219);
  }
  const fixed = (value) => rounded16(value * 8192);
  return { luma: fixed(luma), black: rounded16(black * 8), redV: fixed(redV), blueU: fixed(blueU),
    greenU: fixed(-greenU), greenV: fixed(-greenV) };
}

function clamped(value) {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * RGB of a picture in separate planes.
 * @param {{y: Uint8Array, u: Uint8Array, v: Uint8Array, stride: number, chromaStride: number, chromaStep: number}} planes
 * @param {{height: number, width: number, halveX: number, halveY: number}} layout Subsampling, 1 or 2 per axis.
 * @param {{matrix: string|null, fullRange: boolean|null}} colorSpace
 */
export function planesToRgb(planes, { height, width, halveX, halveY }, colorSpace) {
  const { luma, black, redV, blueU, greenU, greenV } = coefficients(colorSpace);
  const { y, u, v, stride, chromaStride, chromaStep } = planes;
  const shiftX = halveX === 2 ? 1 : 0;
  const shiftY = halveY === 2 ? 1 : 0;
  const rgb = new Uint8Array(height * width * 3);
  let to = 0;
  for (let row = 0; row < height; row += 1) {
    const lumaRow = row * stride;
    const chromaRow = (row >> shiftY) * chromaStride;
    for (let column = 0; column < width; column += 1, to += 3) {
      const chroma = chromaRow + (column >> shiftX) * chromaStep;
      const blueness = (u[chroma] << 3) - 1024;
      const redness = (v[chroma] << 3) - 1024;
      const light = (((y[lumaRow + column] << 3) - black) * luma) >> 16;
      rgb[to] = clamped(light + ((redness * redV) >> 16));
      rgb[to + 1] = clamped(light + ((blueness * greenU) >> 16) + ((redness * greenV) >> 16));
      rgb[to + 2] = clamped(light + ((blueness * blueU) >> 16));
    }
  }
  return rgb;
}

/** RGB of pixels that have a fourth channel, `swap` for blue first. */
export function withoutAlpha(rgba, count, swap = false) {
  const rgb = new Uint8Array(count * 3);
  const [red, blue] = swap ? [2, 0] : [0, 2];
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = rgba[from + red];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + blue];
  }
  return rgb;
}

function eightBits(bytes, depth) {
  if (depth === 8) return bytes;
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1);
  const half = 1 << (depth - 9);
  return Uint8Array.from(words, (value) => Math.min(255, (value + half) >> (depth - 8)));
}

/** For each of `length` output samples, the two nearest of `count` input samples and the share of the second. */
function blends(length, count) {
  return Array.from({ length }, (_, i) => {
    const position = Math.min(Math.max(((i + 0.5) * count) / length - 0.5, 0), count - 1);
    const first = Math.min(Math.floor(position), Math.max(count - 2, 0));
    return { first, second: Math.min(first + 1, count - 1), share: position - first };
  });
}

/** Chroma with a row for every row of the picture, and a column for every column if the width is odd. */
function blended(chroma, { stride, height, width }) {
  const [rows, columns] = [(height + 1) >> 1, (width + 1) >> 1];
  const isWide = width % 2 === 1;
  const outStride = isWide ? width : columns;
  const across = isWide ? blends(width, columns) : blends(columns, columns);
  const result = new Uint8Array(height * outStride);
  blends(height, rows).forEach((down, row) => {
    const at = (column) => chroma[down.first * stride + column] * (1 - down.share) +
      chroma[down.second * stride + column] * down.share;
    across.forEach(({ first, second, share }, column) => {
      result[row * outStride + column] = Math.floor(at(first) * (1 - share) + at(second) * share + 0.5);
    });
  });
  return { chroma: result, stride: outStride, halveX: isWide ? 1 : 2 };
}

/**
 * RGB of a `VideoFrame`, in its stored orientation.
 * @returns {Promise<{rgb: Uint8Array, height: number, width: number, exact: boolean}>} `exact` is false if the pixels may
 *   differ from those of the Python library by a few levels.
 */
export async function frameToRgb(frame, colorSpace = frame.colorSpace) {
  const { width, height } = frame.visibleRect;
  const planar = PLANAR[frame.format];
  if (!planar && frame.format !== "NV12") return copiedAsRgba(frame, width, height);
  const buffer = new Uint8Array(frame.allocationSize());
  const layout = await frame.copyTo(buffer);
  const [halveX, halveY, depth] = planar ?? [2, 2, 8];
  const plane = (index) => eightBits(buffer.subarray(layout[index].offset, layout[index + 1]?.offset), depth);
  const bytes = depth === 8 ? 1 : 2;
  const isInterleaved = frame.format === "NV12";
  const chroma = plane(1);
  const planes = {
    y: plane(0), u: chroma, v: isInterleaved ? chroma.subarray(1) : plane(2), stride: layout[0].stride / bytes,
    chromaStride: layout[1].stride / bytes, chromaStep: isInterleaved ? 2 : 1,
  };
  const isExact = depth === 8 && halveX === 2 && height % 2 === 0;
  const shape = { height, width, halveX, halveY };
  if (!isExact && halveX === 2 && halveY === 2 && !isInterleaved) {
    const [u, v] = [planes.u, planes.v].map((each) => blended(each, { stride: planes.chromaStride, height, width }));
    Object.assign(planes, { u: u.chroma, v: v.chroma, chromaStride: u.stride });
    Object.assign(shape, { halveX: u.halveX, halveY: 1 });
  }
  const rgb = planesToRgb(planes, shape, colorSpace);
  return { rgb, height, width, exact: isExact };
}

async function copiedAsRgba(frame, width, height) {
  const isRgb = /^(RGB|BGR)/.test(frame.format ?? "");
  const options = isRgb ? {} : { format: "RGBA" };
  const buffer = new Uint8Array(frame.allocationSize(options));
  await frame.copyTo(buffer, options);
  return { rgb: withoutAlpha(buffer, width * height, isRgb && frame.format.startsWith("BGR")), height, width,
    exact: false };
}

/** Turn a picture by quarter turns counterclockwise, after mirroring it left to right if asked. */
export function upright({ rgb, height, width }, { quarterTurns = 0, isMirrored = false } = {}) {
  if (quarterTurns === 0 && !isMirrored) return { rgb, height, width };
  const [newHeight, newWidth] = quarterTurns % 2 ? [width, height] : [height, width];
  const turned = new Uint8Array(rgb.length);
  const source = [
    (row, column) => [row, column],
    (row, column) => [column, width - 1 - row],
    (row, column) => [height - 1 - row, width - 1 - column],
    (row, column) => [height - 1 - column, row],
  ][quarterTurns];
  for (let row = 0, to = 0; row < newHeight; row += 1) {
    for (let column = 0; column < newWidth; column += 1, to += 3) {
      const [fromRow, fromColumn] = source(row, column);
      const from = (fromRow * width + (isMirrored ? width - 1 - fromColumn : fromColumn)) * 3;
      turned[to] = rgb[from];
      turned[to + 1] = rgb[from + 1];
      turned[to + 2] = rgb[from + 2];
    }
  }
  return { rgb: turned, height: newHeight, width: newWidth };
}

/** Brightness of each pixel (ITU-R BT.601) in 8 bits. */
export function luma(rgb) {
  const gray = new Uint8Array(rgb.length / 3);
  for (let i = 0, from = 0; i < gray.length; i += 1, from += 3) {
    gray[i] = (77 * rgb[from] + 150 * rgb[from + 1] + 29 * rgb[from + 2] + 128) >> 8;
  }
  return gray;
}
