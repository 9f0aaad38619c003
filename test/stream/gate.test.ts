import { describe, expect, it } from 'vitest';
import { defaults } from '../../src/config/config.js';
import { Gate } from '../../src/stream/gate.js';
import { source } from '../../src/stream/source.js';

describe('limits by address', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0db8:0000:0000::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['', ''],
  ])('count %s as %s', (address, counted) => {
    expect(source(address)).toBe(counted);
  });

  it('cannot be got around with other addresses of one network', () => {
    const limits = { ...defaults().limits, connections_per_address: 2, failed_authentications_per_minute: 2 };
    const gate = new Gate({ ...limits, http_requests_per_minute: 2 });
    for (const last of ['1', '2']) {
      gate.failed(`2001:db8::${last}`);
      expect([gate.enter(`2001:db8::${last}`), gate.mayRequest(`2001:db8::${last}`)]).toEqual([true, true]);
    }
    const may = (address: string) => [
      gate.mayAuthenticate(address),
      gate.mayRequest(address),
      gate.enter(address) && (gate.leave(address), true),
    ];
    expect(may('2001:db8::3')).toEqual([false, false, false]);
    expect(may('2001:db8:0:1::3')).toEqual([true, true, true]);
    gate.leave('2001:db8::1');
    expect(gate.enter('2001:db8::4')).toBe(true);
  });
});
