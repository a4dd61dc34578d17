// The bundlers that the tests bundle this package with.
export { default as commonjs } from '@rollup/plugin-commonjs';
export { default as json } from '@rollup/plugin-json';
export { default as nodeResolve } from '@rollup/plugin-node-resolve';
export { rollup } from 'rollup';
export * as vite from 'vite';
export { default as webpack } from 'webpack';
