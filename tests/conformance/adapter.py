# Adapter for an external conformance harness, which describes a server by a neutral
# specification: turns it into foreshadow's configuration.
"""Environment: FORESHADOW_BIN, the server to run (`foreshadow` by default)."""
import os

from adapters import opt_bytes
from fsnet import Unsupported

RELAYS = '["10.77.0.0/16"]'


def text(value):
    """A TOML basic string."""
    return '"%s"' % value.replace('\\', '\\\\').replace('"', '\\"')


def table(pairs):
    """A TOML inline table of ready-made values; empty ones are left out."""
    return '{ %s }' % ', '.join('%s = %s' % pair for pair in pairs if pair[1])


def options(triples):
    """Options by number, as bytes, so that nothing depends on their names here."""
    return table([('"%d"' % code, '{ hex = "%s" }' % opt_bytes(kind, value).hex())
                  for code, kind, value in triples])


class Adapter:
    name = 'foreshadow'
    lacks = {}
    BIN = os.environ.get('FORESHADOW_BIN', 'foreshadow')

    def build(self, spec, d):
        v4, v6 = spec.get('v4'), spec.get('v6')
        if v6 and v6.get('unicast'):
            raise Unsupported('RFC 9915 has no server unicast option')
        lines = ['[server]',
                 'state_dir = %s' % text(os.path.join(d, 'state')),
                 'control_socket = %s' % text(os.path.join(d, 'control.sock'))]
        for subnet in v4['subnets'] if v4 else []:
            lines += self.network(v4, subnet)
        for number, boot in enumerate(v4.get('boot') or []) if v4 else []:
            lines += self.boot_class(number, boot)
        for subnet in v6['subnets'] if v6 else []:
            lines += self.network6(v6, subnet, bool(v4))
        return {'argv': [self.BIN, 'serve', '--config', os.path.join(d, 'foreshadow.toml')],
                'files': {'foreshadow.toml': '\n'.join(lines) + '\n'},
                'ready': r'\bready\b',
                'settle': 0.1}

    def network(self, v4, subnet):
        flag = lambda name: 'true' if v4.get(name) else 'false'
        lines = ['', '[[network]]',
                 'name = %s' % text(subnet['name']),
                 'relays = %s' % RELAYS,
                 'authoritative = %s' % flag('authoritative'),
                 'verify = %s' % flag('ping_check'),
                 'rapid_commit = %s' % flag('rapid_commit'),
                 'bootp = %s' % ('"any"' if v4.get('bootp') else '"off"'),
                 'lease = { min = "1s", default = "%ds", max = "%ds", t1 = "%ds", t2 = "%ds" }' % (
                     subnet['lease'], subnet['lease'], subnet['t1'], subnet['t2'])]
        if subnet.get('iface'):
            lines.append('interfaces = [%s]' % text(subnet['iface']))
        lines += ['[[network.subnet]]',
                  'prefix = %s' % text(subnet['prefix']),
                  'pools = [%s]' % ', '.join(text('%s-%s' % tuple(p)) for p in subnet['pools']),
                  'options = %s' % options(subnet['options'])]
        lines += self.boot_fields(subnet.get('next_server'), subnet.get('file'))
        for reservation in subnet['reservations']:
            lines += self.reservation(reservation)
        return lines

    def network6(self, v6, subnet, both):
        name = subnet['name'] + ('6' if both else '')
        lines = ['', '[[network]]',
                 'name = %s' % text(name),
                 'relays = ["2001:db8:77::/48"]',
                 'verify = false',
                 'rapid_commit = %s' % ('true' if v6.get('rapid_commit') else 'false'),
                 'lease = { min = "1s", default = "%ds", max = "%ds", preferred = "%ds",'
                 ' t1 = "%ds", t2 = "%ds" }' % (subnet['valid'], subnet['valid'],
                                                subnet['preferred'], subnet['t1'], subnet['t2'])]
        if v6.get('preference') is not None:
            lines.append('preference = %d' % v6['preference'])
        if subnet.get('iface'):
            lines.append('interfaces = [%s]' % text(subnet['iface']))
        lines += ['[[network.subnet]]',
                  'prefix = %s' % text(subnet['prefix']),
                  'pools = [%s]' % ', '.join(text('%s-%s' % tuple(p)) for p in subnet['pools']),
                  'options6 = %s' % options(subnet['options'])]
        if subnet.get('pd'):
            lines.append('delegations = [%s]' % ', '.join(
                '{ prefix = %s, length = %d }' % (text(p['prefix']), p['len'])
                for p in subnet['pd']))
        if subnet.get('interface_id'):
            lines.append('interface_ids = ["0x%s"]' % subnet['interface_id'])
        for entry in subnet['reservations']:
            lines += ['[[network.reservation]]', 'duid = %s' % text('0x' + entry['duid']),
                      'addresses = [%s]' % ', '.join(map(text, entry.get('ips') or []))]
            if entry.get('prefixes'):
                lines.append('prefixes = [%s]' % ', '.join(map(text, entry['prefixes'])))
        return lines

    def boot_fields(self, next_server, boot_file):
        lines = []
        if next_server:
            lines.append('next_server = %s' % text(next_server))
        if boot_file:
            lines.append('boot_file = %s' % text(boot_file))
        return lines

    def reservation(self, entry):
        lines = ['[[network.reservation]]', 'address = %s' % text(entry['ip'])]
        if 'mac' in entry:
            lines.append('mac = %s' % text(entry['mac']))
        for key in ('client_id', 'circuit_id'):
            if key in entry:
                lines.append('%s = { hex = %s }' % (key, text(entry[key])))
        if entry.get('hostname'):
            lines.append('hostname = %s' % text(entry['hostname']))
        if entry.get('options'):
            lines.append('options = %s' % options(entry['options']))
        return lines

    def boot_class(self, number, boot):
        arch = '[%s]' % ', '.join(map(str, boot['arch']))
        lines = ['', '[[class]]', 'name = "boot%d"' % number,
                 'match = { vendor_class = [%s], arch = %s }' % (text(boot['match'] + '*'), arch)]
        lines += self.boot_fields(boot.get('next_server'), boot['file'])
        if boot['match'] == 'HTTPClient':
            # UEFI s24.7: only an offer that says HTTPClient is one for HTTP boot.
            lines.append('options = { "60" = { hex = "%s", always = true } }'
                         % b'HTTPClient'.hex())
        return lines
