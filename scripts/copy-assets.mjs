// Puts what tsc does not copy beside the built modules, and makes the entry executable.
import { chmodSync, copyFileSync, mkdirSync } from 'node:fs';

mkdirSync('dist/xml', { recursive: true });
copyFileSync('src/xml/scanner.wasm', 'dist/xml/scanner.wasm');
chmodSync('dist/main.js', 0o755);
