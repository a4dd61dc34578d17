// What the tests install besides the development dependencies: pinned here, named in DROP-IN.md.
export const versions = {
  bun: '1.4.5',
  deno: '2.9.6',
  mongoose: '9.12.1',
  next: '16.4.6',
  pnpm: '12.21.0',
  previousDriver: '6.22.0',
  react: '19.2.0',
  yarn: '1.22.22',
};
