const steps = [1, 2, 3, 4, 5, 6, 8, 10];

/** The smallest round number at or above max that splits into that many equal round parts. */
export function niceMax(max: number, parts: number, whole = true): number {
  const part = max / parts;
  if (!(part > 0) || !Number.isFinite(part)) return parts;
  if (whole && part <= 1) return parts;
  const power = 10 ** Math.floor(Math.log10(part));
  const step = steps.find((s) => s * power >= part * (1 - 1e-9)) ?? 10;
  return Number((step * power * parts).toPrecision(12));
}
