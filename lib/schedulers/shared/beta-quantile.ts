/**
 * Invert the regularized incomplete beta function: find x with I_x(a, b) = p.
 * @param p in [0, 1]
 * @returns x in [0, 1], to about 1e-15
 * @see scipy.stats.beta.ppf
 */
export function betaQuantile(p: number, a: number, b: number): number {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  // The half with the smaller x keeps its relative precision.
  if (p > regularizedBeta(0.5, a, b)) return 1 - lowerQuantile(1 - p, b, a);
  return lowerQuantile(p, a, b);
}

/** Newton's method, held between bounds that bisection narrows; x is at most 1/2. */
function lowerQuantile(p: number, a: number, b: number): number {
  const logScale = logGamma(a + b) - logGamma(a) - logGamma(b);
  let [low, high] = [0, 0.5];
  let x = Math.min(0.5, (p * a * Math.exp(-logScale)) ** (1 / a));
  for (let i = 0; i < 100; i++) {
    const error = regularizedBeta(x, a, b) - p;
    if (error === 0) return x;
    if (error > 0) high = x;
    else low = x;
    const density = Math.exp(logScale + (a - 1) * Math.log(x) + (b - 1) * Math.log1p(-x));
    const newton = x - error / density;
    const next = newton > low && newton < high ? newton : (low + high) / 2;
    if (Math.abs(next - x) <= 1e-16 * x) return next;
    x = next;
  }
  return x;
}

/** I_x(a, b) by its continued fraction. @see Numerical Recipes, 6.4 */
function regularizedBeta(x: number, a: number, b: number): number {
  const logFront = logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x);
  return x < (a + 1) / (a + b + 2)
    ? (Math.exp(logFront) * continuedFraction(x, a, b)) / a
    : 1 - (Math.exp(logFront) * continuedFraction(1 - x, b, a)) / b;
}

/** Lentz's method. */
function continuedFraction(x: number, a: number, b: number): number {
  let c = 1;
  let d = 1 / (1 - ((a + b) * x) / (a + 1));
  let value = d;
  for (let m = 1; m < 1000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / (1 + even * d);
    c = 1 + even / c;
    value *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / (1 + odd * d);
    c = 1 + odd / c;
    value *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return value;
}

/** log of the gamma function by Stirling's series, shifted to where it converges fast. */
function logGamma(x: number): number {
  let shift = 0;
  let y = x;
  for (; y < 15; y++) shift += Math.log(y);
  const inverse = 1 / (y * y);
  const series =
    (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse * (1 / 1188))))) / y;
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
