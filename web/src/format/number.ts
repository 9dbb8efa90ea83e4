const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** "5,412,880". */
export function number(n: number): string {
  return whole.format(n);
}

/** "38 MB"; units of 1024 would surprise network people, so these are of 1000. */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  let v = n;
  while (v >= 1000 && i < units.length - 1) {
    v /= 1000;
    i++;
  }
  return `${i === 0 || v >= 100 ? Math.round(v) : v.toFixed(1)} ${units[i]}`;
}

/** "1 alert", "3 alerts". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${number(n)} ${n === 1 ? one : many}`;
}

/** "320 k" for axes. */
export function short(n: number): string {
  if (Math.abs(n) >= 1e6) return `${trim(n / 1e6)} M`;
  if (Math.abs(n) >= 1e4) return `${trim(n / 1e3)} k`;
  return Number.isInteger(n) ? number(n) : String(Number(n.toPrecision(4)));
}

function trim(n: number): string {
  return String(Number(n.toFixed(1)));
}
