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
  '--enable',
  'simd',
  '--enable',
  'bulk-memory',
  '--importMemory',
  '--noExportMemory',
]);
if (error) {
  console.error(stderr.toString());
  throw error;
}
