import { openStore } from '../../src/store/open.js';
import { conformance } from './conformance.js';

conformance('the memory store', () => openStore({ kind: 'memory', path: '', durability: 'commit' }));
