// Compiles the stanza scanner from AssemblyScript to src/xml/scanner.wasm.
import { main } from 'assemblyscript/asc';

const { error, stderr } = await main([
  'src/xml/assembly/scanner.ts',
  '--outFile',
  'src/xml/scanner.wasm',
  '--runtime',
  'stub',
  '--noAssert',
  '-O3',
  '--converge',
  '--enable',
  'simd',
  '--enable',
  'bulk-memory',
  // The host makes the memory, of fixed size: views of it never detach.
  '--importMemory',
  '--noExportMemory',
  // The compiler's own data lies above what layout.ts places.
  '--memoryBase',
  '49152',
  // The warning that functions exchange v128 values: none of them is exported.
  '--disableWarning',
  '112',
]);
if (error) {
  console.error(stderr.toString());
  throw error;
}
