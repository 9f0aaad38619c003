/**
 * Who counts as one where limits go by address: an IPv4 address, or an IPv6 network of 64 bits, since whoever has one address
 * there has all of them (RFC 8981) and would be somebody else with each connection.
 */
export function source(address: string): string {
  if (!address.includes(':')) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped !== null) return mapped[1]!;
  const [start = '', end] = address.toLowerCase().split('::', 2) as [string, string | undefined];
  const groups = start === '' ? [] : start.split(':');
  if (end !== undefined) {
    const last = end === '' ? [] : end.split(':');
    while (groups.length + last.length < 8) groups.push('0');
    groups.push(...last);
  }
  const network = groups.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, ''));
  return `${network.join(':')}::/64`;
}
