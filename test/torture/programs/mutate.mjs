// Ways to damage a file; each call damages it once to three times.

const BYTES = [
  (bytes, random) => {
    bytes[random(bytes.length)] ^= 1 << random(8);
    return bytes;
  },
  (bytes, random) => {
    bytes[random(bytes.length)] = [0, 255, 127, 128, 32][random(5)];
    return bytes;
  },
  // A number of 8 bytes somewhere.
  (bytes, random) => {
    if (bytes.length < 8) return bytes;
    const numbers = [0n, 1n, 2n ** 64n - 1n, 2n ** 63n, 2n ** 32n, 2n ** 31n - 1n, 100_000_000n];
    bytes.writeBigUInt64LE(numbers[random(numbers.length)], random(bytes.length - 7));
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random(bytes.length)),
  (bytes, random) => {
    const at = random(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(64))]);
  },
  (bytes, random) => {
    const [at, from] = [random(bytes.length), random(bytes.length)];
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(from, from + 1 + random(256)), bytes.subarray(at)]);
  },
  // The ends of a file say what is in it.
  (bytes, random) => {
    const at = random(Math.min(64, bytes.length));
    bytes[random(2) ? at : bytes.length - 1 - at] = random(256);
    return bytes;
  },
];

const repeat = (ways, bytes, random) => {
  let changed = Buffer.from(bytes);
  for (let i = 1 + random(3); i > 0 && changed.length > 0; i--)
    changed = Buffer.from(ways[random(ways.length)](changed, random));
  return changed;
};

/** Damage bytes. */
export const mutate = (bytes, random) => repeat(BYTES, bytes, random);

const VALUES = [
  "0",
  "-1",
  "1e9",
  "1e308",
  "9007199254740991",
  "123456789012345678901234567890",
  "0.5",
  "-0",
  "NaN",
  "Infinity",
  "null",
  "true",
  '""',
  '"x"',
  "[]",
  "{}",
  "[[[[1]]]]",
  `[${"0,".repeat(5000)}0]`,
  `"${"long ".repeat(2000)}"`,
  "100000",
  "65536",
  '"\\ud800"',
  '{"__proto__": {"x": 1}}',
];

const KEYS = ["__proto__", "constructor", "toString", "layers_per_block", "block_out_channels", "x".repeat(5000), ""];

/** Ways that leave JSON what it mostly is. */
const JSON_WAYS = [
  // Another value after a colon.
  (bytes, random) => {
    const text = bytes.toString("latin1");
    const places = [...text.matchAll(/:\s*("[^"]*"|\[[^[\]]*\]|[^,{}[\]\s]+)/g)];
    const place = places[random(places.length || 1)];
    if (!place) return bytes;
    const value = VALUES[random(VALUES.length)];
    return Buffer.from(`${text.slice(0, place.index)}: ${value}${text.slice(place.index + place[0].length)}`, "latin1");
  },
  // Another key.
  (bytes, random) => {
    const text = bytes.toString("latin1");
    const places = [...text.matchAll(/"[^"]*"(?=\s*:)/g)];
    const place = places[random(places.length || 1)];
    if (!place) return bytes;
    const key = `"${KEYS[random(KEYS.length)]}"`;
    return Buffer.from(text.slice(0, place.index) + key + text.slice(place.index + place[0].length), "latin1");
  },
  // One number among others.
  (bytes, random) => {
    const text = bytes.toString("latin1");
    const places = [...text.matchAll(/\d+/g)];
    const place = places[random(places.length || 1)];
    if (!place) return bytes;
    const numbers = ["0", "1", "2", "3", "5", "7", "64", "1000", "65537", "4294967296", "99999999999999999999"];
    const number = numbers[random(numbers.length)];
    return Buffer.from(text.slice(0, place.index) + number + text.slice(place.index + place[0].length), "latin1");
  },
];

/** Damage JSON: what it says more often than how it is written. */
export const mutateJson = (bytes, random) => repeat(random(4) === 0 ? BYTES : JSON_WAYS, bytes, random);
