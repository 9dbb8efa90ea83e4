// A water works that never existed, as data for the mock server. Everything is derived from one start time, so
// that two servers started at the same instant tell the same story.

const guid = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

const devices = [
  ['PLC-DOS-02', 'PLC', 'Schneider Electric', 'Modicon M340', '3.40', '10.20.10.22', ['MODBUS'], 'Process Control', 'Dosing'],
  ['PLC-FLT-01', 'PLC', 'Siemens', 'S7-1500', '2.9.4', '10.20.10.31', ['Siemens S7'], 'Process Control', 'Filtration'],
  ['PLC-FLT-03', 'PLC', 'Siemens', 'S7-1200', '4.5.2', '10.20.10.33', ['Siemens S7'], 'Process Control', 'Filtration'],
  ['RTU-PMP-01', 'RTU', 'Schneider Electric', 'SCADAPack 334E', '8.19.1', '10.30.10.11', ['DNP3'], 'Process Control', 'Pumps'],
  ['RTU-PMP-02', 'RTU', 'Schneider Electric', 'SCADAPack 334E', '8.19.1', '10.30.10.12', ['DNP3'], 'Process Control', 'Pumps'],
  ['HMI-01', 'HMI', 'Siemens', 'Comfort Panel', '', '10.20.20.11', ['MODBUS', 'Siemens S7'], 'Supervisory', 'Control room'],
  ['HMI-02', 'HMI', 'Siemens', 'Comfort Panel', '', '10.20.20.12', ['MODBUS', 'Siemens S7'], 'Supervisory', 'Control room'],
  ['EWS-02', 'Engineering Station', 'Dell', 'Precision 3660', '', '10.20.20.41', ['MODBUS', 'Siemens S7', 'DNS', 'DHCP'], 'Supervisory', 'Control room'],
  ['HIST-01', 'Historian', 'Hewlett Packard Enterprise', 'ProLiant DL360', '', '10.20.35.12', ['MODBUS', 'DNS'], 'Supervisory', 'Site operations'],
  ['SCADA-01', 'Server', 'Hewlett Packard Enterprise', 'ProLiant DL380', '', '10.20.20.5', ['DNP3', 'DNS'], 'Supervisory', 'Control room'],
  ['SW-CTL-02', 'Switch', 'Hirschmann', 'MACH1000', '9.1.4', '10.20.20.2', ['ARP', 'ICMP'], 'Supervisory', 'Control room'],
  ['FW-DMZ', 'Firewall', 'Fortinet', 'FortiGate 60F', '7.4.1', '10.20.35.1', ['ICMP', 'DNS'], 'Enterprise', 'Site operations'],
  ['CL-17', 'Workstation', 'Lenovo', 'ThinkPad T14', '', '10.20.40.117', ['DNS', 'DHCP', 'ICMP'], 'Enterprise', 'Workshop'],
];

const explanations = {
  write: {
    meaning: 'EWS-02 wrote the setpoint that tells dosing line 2 how much chlorine to add to drinking water. Only HMI-01 has written this register while the baseline was learned.',
    impact: 'At the written value, water above the legal limit would reach the network in about 40 minutes.',
    safe: ['Ask the control room to keep line 2 on local control.', 'End the remote session on EWS-02.', 'Compare the setpoint with the analyser in the field.'],
    avoid: ['Isolate or restart PLC-DOS-02: dosing would stop.', 'Power off EWS-02: its memory is evidence.', 'Write to the controller from the SOC.'],
    ask: 'the dosing process owner on shift',
  },
  stop: {
    meaning: 'A station told the controller to stop its program. A stopped controller no longer regulates; its outputs go to the state they were configured for.',
    impact: 'Pumps hold their last state or switch off, and levels are no longer kept.',
    safe: ['Ask the control room whether the stop was planned.', 'Watch levels on an independent gauge.'],
    avoid: ['Start the controller again without the process owner.', 'Block the station before the operator has another way in.'],
    ask: 'the shift lead of the pump house',
  },
  scan: {
    meaning: 'One device asked many others on many ports within seconds, as a scanner does when it looks for a way in.',
    impact: 'Old controllers can hang under a scan. No process effect was seen.',
    safe: ['Find out who uses the laptop.', 'Take the laptop off the network; no process depends on it.'],
    avoid: ['Restart controllers that still answer.'],
    ask: 'the maintenance lead',
  },
  firmware: {
    meaning: 'New firmware was sent to a controller. Firmware decides everything that the controller does.',
    impact: 'The filter bed is out of control while the controller restarts, and for as long as the firmware is wrong.',
    safe: ['Ask engineering for the change ticket.', 'Keep a copy of the running project.'],
    avoid: ['Interrupt the transfer: a half-written controller does not start.'],
    ask: 'the automation engineer on call',
  },
  plain: {
    meaning: 'The traffic differs from what was learned of these devices.',
    impact: 'No effect on the process is known.',
    safe: ['Ask the owner of the device whether a change was planned.'],
    avoid: ['Change controller settings to make the alert go away.'],
    ask: 'the owner of the device',
  },
};

// title, engine, severity, protocol, source, destination, minutes ago, status, owner, explanation, techniques, times seen, details
const incidents = [
  ['Chlorine dose setpoint written by EWS-02', 'POLICY_VIOLATION', 'High', 'MODBUS', 'EWS-02', 'PLC-DOS-02', 7, 'Active', 'Maren Okafor', 'write', ['T0836', 'T0855'], 1, { Function: '16 write multiple registers', Register: '40013', 'Value written': '8.50', 'Previous value': '1.20', Unit: '1' }],
  ['PLC stop outside the maintenance window', 'OPERATIONAL', 'High', 'DNP3', 'SCADA-01', 'RTU-PMP-01', 16, 'New', '', 'stop', ['T0858'], 1, { Function: '18 stop application' }],
  ['Remote desktop from DMZ to control zone', 'POLICY_VIOLATION', 'Medium', 'RDP', 'HIST-01', 'EWS-02', 20, 'New', '', 'plain', ['T0886'], 42, { Port: '3389' }],
  ['New device speaks S7comm to four controllers', 'ANOMALY', 'Medium', 'Siemens S7', 'CL-17', 'PLC-FLT-01', 42, 'New', '', 'plain', ['T0888', 'T0846'], 4, { Peers: '4' }],
  ['Firmware download to PLC-FLT-03', 'OPERATIONAL', 'High', 'Siemens S7', 'EWS-02', 'PLC-FLT-03', 54, 'Active', 'Jonas Thiel', 'firmware', ['T0857'], 1, { Block: 'OB1', Bytes: '48,120' }],
  ['Historian polls twice as often as last week', 'ANOMALY', 'Low', 'MODBUS', 'HIST-01', 'PLC-DOS-02', 73, 'New', '', 'plain', ['T0801'], 118, { 'Requests per minute': '120', Learned: '60' }],
  ['Modbus exception codes rise on the sludge line', 'PROTOCOL_VIOLATION', 'Medium', 'MODBUS', 'HMI-02', 'PLC-DOS-02', 107, 'Active', 'Anna Silva', 'plain', ['T0835'], 9, { Exception: '2 illegal data address' }],
  ['Clear-text login to switch SW-CTL-02', 'POLICY_VIOLATION', 'Low', 'Telnet', 'CL-17', 'SW-CTL-02', 142, 'Active', 'Jonas Thiel', 'plain', ['T0812'], 1, { Port: '23' }],
  ['Sensor lost mirror traffic from one port', 'OPERATIONAL', 'Medium', 'GENERIC', 'SW-CTL-02', 'FW-DMZ', 164, 'New', '', 'plain', [], 1, {}],
  ['Backup of PLC programs read by EWS-02', 'ANOMALY', 'Informational', 'Siemens S7', 'EWS-02', 'PLC-FLT-01', 269, 'Active', 'Anna Silva', 'plain', ['T0845'], 6, { Function: 'upload' }],
  ['Unknown domain asked by HMI-02', 'MALWARE', 'Low', 'DNS', 'HMI-02', 'FW-DMZ', 363, 'Active', 'Maren Okafor', 'plain', ['T0869'], 3, { Name: 'update.example.test' }],
  ['Port scan from contractor laptop CL-17', 'ANOMALY', 'Medium', 'GENERIC', 'CL-17', 'PLC-FLT-01', 505, 'New', '', 'scan', ['T0846'], 2, { Ports: '212', Seconds: '14' }],
  ['DNP3 restart of RTU-PMP-02', 'OPERATIONAL', 'Medium', 'DNP3', 'SCADA-01', 'RTU-PMP-02', 590, 'Active', 'Jonas Thiel', 'stop', ['T0816'], 3, { Function: '13 cold restart' }],
  ['Malformed Modbus length from CL-17', 'PROTOCOL_VIOLATION', 'Low', 'MODBUS', 'CL-17', 'PLC-DOS-02', 731, 'New', '', 'plain', ['T0814'], 5, { 'Length said': '260', 'Bytes present': '12' }],
];

const tactics = { T0836: 'ImpairProcessControl', T0855: 'ImpairProcessControl', T0858: 'Execution', T0886: 'LateralMovement', T0888: 'Discovery', T0846: 'Discovery', T0857: 'Persistence', T0801: 'Collection', T0835: 'InhibitResponseFunction', T0812: 'LateralMovement', T0845: 'Collection', T0869: 'CommandAndControl', T0816: 'InhibitResponseFunction', T0814: 'InhibitResponseFunction' };

export function plant(now = Date.now()) {
  const ago = (minutes) => new Date(now - minutes * 60_000).toISOString();
  const inventory = devices.map(([name, type, vendor, model, firmwareVersion, ip, protocols, purdueLevel, zone], i) => ({
    id: guid(1000 + i), name, ipAddresses: [ip], macAddresses: [`00:80:f4:10:20:${String(10 + i)}`], vendor, type, model, firmwareVersion, protocols, purdueLevel,
    firstSeen: ago(20_160), lastSeen: ago(i % 5), authorized: name !== 'CL-17', programming: name === 'EWS-02', scanner: name === 'CL-17', ot: purdueLevel !== 'Enterprise',
    sensorId: guid(1), sensorName: zone === 'Pumps' ? 'MB-1' : 'HV-2', importance: type === 'PLC' ? 'High' : '', revision: 3, site: zone === 'Pumps' ? 'Millbrook pumping' : 'Harrow Vale', zone, line: '', openAlerts: 0,
  }));
  const device = (name) => inventory.find((d) => d.name === name);
  const end = (name) => ({ name, address: device(name).ipAddresses[0], deviceId: device(name).id });
  const alertOf = (row, number) => {
    const [title, engine, severity, protocol, source, destination, minutes, status, , explanation, techniques, count, details] = row;
    return {
      systemAlertId: guid(5000 + number), vendorOriginalId: guid(3000 + number), name: title, severity, status: status === 'Active' ? 'InProgress' : status === 'Closed' ? 'Resolved' : 'New', engine,
      category: 'Unauthorized Communication Behavior', protocol, description: `${source} (${device(source).ipAddresses[0]}) reached ${destination} (${device(destination).ipAddresses[0]}) over ${protocol} in a way that was not learned.`,
      startTime: ago(minutes + 0.5), endTime: ago(count > 1 ? minutes / 2 : minutes + 0.5), timeGenerated: ago(minutes), providerName: 'IoTSecurity', revision: count, count,
      tactics: [...new Set(techniques.map((t) => tactics[t]))], techniques, remediationSteps: ['Ask the owner whether the change was planned.', 'Compare the value with the field instrument.'],
      source: { ...end(source), port: 51544 }, destination: { ...end(destination), port: protocol === 'MODBUS' ? 502 : protocol === 'DNP3' ? 20000 : 102 },
      devices: [source, destination].map((n) => { const d = device(n); return { deviceId: d.id, name: d.name, type: d.type, vendor: d.vendor, model: d.model, firmwareVersion: d.firmwareVersion, ipAddress: d.ipAddresses[0], macAddress: d.macAddresses[0], protocols: d.protocols, site: d.site, zone: d.zone, sensor: d.sensorName, purdueLevel: d.purdueLevel, importance: d.importance }; }),
      explanation: explanations[explanation], details: Object.entries(details).map(([name, value]) => ({ name, value })), frame: 48211 - number * 17,
      line: explanation === 'write' ? { name: 'Dosing line 2', owners: ['dosing@harrow-vale.example'] } : null, pcapUrl: `/otus/v1/fleet/alerts/${guid(3000 + number)}/pcap`,
    };
  };
  const list = incidents.map((row, i) => {
    const number = 2417 - i;
    const [title, engine, severity, protocol, source, destination, minutes, status, owner, , techniques] = row;
    const first = alertOf(row, number);
    const alerts = i === 0 ? [first, alertOf(['PLC-DOS-02 asked who it is', 'ANOMALY', 'Low', 'MODBUS', 'EWS-02', 'PLC-DOS-02', 12, 'Active', '', 'plain', ['T0888'], 4, { Function: '43 read device identification' }], 9001), alertOf(['Remote desktop into EWS-02', 'POLICY_VIOLATION', 'Medium', 'RDP', 'HIST-01', 'EWS-02', 20, 'Active', '', 'plain', ['T0886'], 1, { Port: '3389' }], 9002)] : [first];
    const who = owner === '' ? null : { name: owner, email: `${owner.split(' ')[0].toLowerCase()}@harrow-vale.example` };
    const opened = ago(minutes);
    const d = device(destination);
    return {
      id: guid(7000 + number), number, title, description: first.description, severity, status, classification: '', classificationReason: '', classificationComment: '', owner: who, labels: [],
      createdTime: opened, lastModifiedTime: opened, firstActivityTime: alerts.at(-1).startTime, lastActivityTime: first.endTime, closedTime: null, firstModifiedTime: who ? ago(minutes - 1) : null,
      alertsCount: alerts.length, commentsCount: 0, tactics: first.tactics, techniques, engine, protocol, sensor: d.sensorName, site: d.site, zone: d.zone, sourceDevice: source, destinationDevice: destination,
      ruleNames: ['Create incidents based on Azure Defender for IOT alerts'], etag: '"1"', alerts,
      activity: [{ time: opened, actor: 'Otus', kind: 'created', text: 'Opened by the rule "Create incidents based on Azure Defender for IOT alerts".' }, ...(who ? [{ time: ago(minutes - 1), actor: owner, kind: 'status', text: `New → ${status}` }] : [])],
      comments: i === 0 ? [{ id: 'c1', author: { name: 'Maren Okafor', email: 'maren@harrow-vale.example' }, message: 'Called the control room. Nobody works on EWS-02 tonight.', createdTime: ago(3) }] : [],
      sync: alerts.map((a) => ({ alertId: a.vendorOriginalId, sensor: d.sensorName, alertStatus: status, wanted: status, state: 'inStep', detail: '', since: opened })),
    };
  });
  for (const i of list) if (i.status !== 'Closed') for (const d of inventory) if (d.name === i.sourceDevice || d.name === i.destinationDevice) d.openAlerts++;

  const fleetAlerts = list.flatMap((i) => i.alerts.map((a) => ({
    id: a.vendorOriginalId, revision: a.revision, type: 'new-activity', title: a.name, engine: a.engine, severity: a.severity, category: a.category, protocol: a.protocol, tactics: a.tactics, techniques: a.techniques,
    learnable: a.engine === 'POLICY_VIOLATION', status: i.status, firstDetection: a.startTime, lastDetection: a.endTime, lastActivity: a.timeGenerated, published: a.startTime, count: a.count, sensorId: guid(1), sensorName: i.sensor,
    source: a.source, destination: a.destination, devices: [], description: a.description, explanation: a.explanation, details: a.details, frame: a.frame, hasCapture: true, site: i.site, zone: i.zone,
  })));

  const hour = 3_600_000;
  const start = Math.floor(now / hour) * hour - 23 * hour;
  const pattern = [0, 1, 2, 0, 1, 1, 3, 0, 2, 4, 1, 0, 2, 1, 3, 5, 2, 1, 0, 2, 3, 1, 4, 6];
  const series = pattern.map((n, i) => ({ start: new Date(start + i * hour).toISOString(), high: n > 4 ? 2 : n > 2 ? 1 : 0, medium: Math.floor(n / 2), low: Math.ceil(n / 3), informational: n === 1 ? 1 : 0 }));
  series[7] = { ...series[7], high: 0, medium: 0, low: 0, informational: 0 };

  return {
    incidents: list, devices: inventory, alerts: fleetAlerts, series,
    sensors: [
      { id: guid(1), name: 'HV-2', site: 'Harrow Vale', zone: 'Dosing', version: '0.1.0', mode: 'operational', state: 'Healthy', reason: '', lastSeen: ago(0), health: { frames: 48_211_904, bytes: 9_412_883_112, dropped: 0, devices: 11, openAlerts: 11, oneSidedStreams: 0 } },
      { id: guid(2), name: 'MB-1', site: 'Millbrook pumping', zone: 'Pumps', version: '0.1.0', mode: 'operational', state: 'Warning', reason: 'One port silent', lastSeen: ago(0), health: { frames: 2_904_117, bytes: 402_771_010, dropped: 214, devices: 2, openAlerts: 3, oneSidedStreams: 6 } },
      { id: guid(3), name: 'HV-3', site: 'Harrow Vale', zone: 'Filtration', version: '0.1.0', mode: 'learning', state: 'Healthy', reason: '', lastSeen: ago(1), health: { frames: 11_904_117, bytes: 1_802_771_010, dropped: 0, devices: 4, openAlerts: 0 } },
    ],
    sites: [{ id: guid(11), name: 'Harrow Vale', owners: ['ops@harrow-vale.example'] }, { id: guid(12), name: 'Millbrook pumping', owners: ['pumps@harrow-vale.example'] }],
    zones: [{ id: guid(21), siteId: guid(11), name: 'Dosing' }, { id: guid(22), siteId: guid(11), name: 'Filtration' }, { id: guid(23), siteId: guid(12), name: 'Pumps' }],
    subscriptions: [{ id: guid(31), name: 'Harrow Vale Water', planOn: true }, { id: guid(32), name: 'Eastgate reservoir', planOn: false }],
    connected: new Set([guid(31)]),
    createIncidents: true,
    rules: [
      { id: 'otus-iot-incident-creation', kind: 'MicrosoftSecurityIncidentCreation', name: 'Create incidents based on Azure Defender for IOT alerts', description: 'Opens one incident for each new alert of the IoT connector.', severity: '', enabled: true, source: 'content', lastRun: ago(7), lastResult: '1 incident', lastError: '', tactics: [], techniques: [] },
      { id: 'plc-stop', kind: 'Scheduled', name: 'Controller told to stop', description: 'A stop command reached a controller. Stopped controllers no longer regulate the process.', severity: 'High', enabled: true, query: 'SecurityAlert\n| where ProductName == "Azure Security Center for IoT"\n| where AlertName has "PLC" and AlertName has "stop"', queryFrequency: 'PT5M', queryPeriod: 'PT5M', tactics: ['Execution'], techniques: ['T0858'], source: 'content', lastRun: ago(2), lastResult: '0 rows', lastError: '' },
      { id: 'internet-access', kind: 'Scheduled', name: 'OT device reaches the Internet', description: 'A device of the OT network exchanged traffic with a public address.', severity: 'High', enabled: false, query: 'SecurityAlert\n| where AlertName has "Internet"', queryFrequency: 'PT5M', queryPeriod: 'PT5M', tactics: ['InitialAccess'], techniques: ['T0883'], source: 'content', lastRun: null, lastResult: '', lastError: '' },
      { id: 'excessive-logins', kind: 'Scheduled', name: 'Many failed logins to one device', description: 'Too many logins failed within the period.', severity: 'Medium', enabled: true, query: 'SecurityAlert\n| where AlertName has "Login"\n| summarize n = count() by CompromisedEntity\n| where n > 5', queryFrequency: 'PT5M', queryPeriod: 'P1D', tactics: ['LateralMovement'], techniques: ['T0812'], source: 'user', lastRun: ago(2), lastResult: '', lastError: 'query refused: line 3: unknown column "CompromisedEntity1"' },
    ],
  };
}

const string = (name, description) => ({ name, type: 'string', description });
const time = (name, description) => ({ name, type: 'datetime', description });

export const schema = {
  tables: [
    { name: 'SecurityAlert', description: 'A row per new or changed alert.', solutions: ['AzureSecurityOfThings', 'SecurityInsights'], columns: [time('TimeGenerated', 'Time of the change'), string('AlertName', 'Title of the alert'), string('DisplayName', 'Title of the alert'), string('AlertSeverity', 'High, Medium, Low or Informational'), string('ProductName', 'Product that raised it'), string('ProductComponentName', 'Detection engine'), string('ProviderName', 'Provider'), string('Status', 'New, InProgress, Resolved or Dismissed'), string('SystemAlertId', 'Id in this workspace'), string('VendorOriginalId', 'Id on the sensor'), string('ExtendedProperties', 'JSON text'), string('Entities', 'JSON text'), time('StartTime', 'First detection'), time('EndTime', 'Last detection'), time('ProcessingEndTime', 'Time of publication'), string('Tactics', 'Comma separated')] },
    { name: 'SecurityIncident', description: 'A full row per change of an incident.', solutions: ['SecurityInsights'], columns: [time('TimeGenerated', ''), { name: 'IncidentNumber', type: 'int', description: '' }, string('Title', ''), string('Severity', ''), string('Status', ''), { name: 'AlertIds', type: 'dynamic', description: '' }] },
    { name: 'OTDevice', description: 'A row per change of a device.', solutions: ['Otus'], columns: [time('TimeGenerated', ''), string('DeviceId', ''), string('DeviceName', ''), string('Vendor', ''), { name: 'Protocols', type: 'dynamic', description: '' }] },
    { name: 'OTConnection', description: 'Per pair, protocol and minute.', solutions: ['Otus'], columns: [time('TimeGenerated', ''), string('ClientIpAddress', ''), string('ServerIpAddress', ''), string('Protocol', ''), { name: 'Messages', type: 'long', description: '' }] },
    { name: 'OTProtocolEvent', description: 'Every control-relevant message.', solutions: ['Otus'], columns: [time('TimeGenerated', ''), string('ClientIpAddress', ''), string('ServerIpAddress', ''), string('Protocol', ''), string('Operation', ''), { name: 'FunctionCode', type: 'int', description: '' }, string('Value', '')] },
    { name: 'OTSensorHealth', description: 'Per sensor and minute.', solutions: ['Otus'], columns: [time('TimeGenerated', ''), string('SensorName', ''), { name: 'Dropped', type: 'long', description: '' }] },
  ],
  functions: [
    { name: 'ago', kind: 'scalar', signature: 'ago(timespan)', description: 'The time that long before now.' }, { name: 'bin', kind: 'scalar', signature: 'bin(value, roundTo)', description: 'Rounds down to a multiple.' }, { name: 'now', kind: 'scalar', signature: 'now()', description: 'The time of the query.' },
    { name: 'parse_json', kind: 'scalar', signature: 'parse_json(string)', description: 'Reads JSON text.' }, { name: 'tostring', kind: 'scalar', signature: 'tostring(value)', description: 'As text.' },
    { name: 'count', kind: 'aggregate', signature: 'count()', description: 'Number of rows.' }, { name: 'dcount', kind: 'aggregate', signature: 'dcount(expr)', description: 'Number of distinct values.' }, { name: 'arg_max', kind: 'aggregate', signature: 'arg_max(expr, *)', description: 'The row where expr is greatest.' },
  ],
  operators: ['where', 'project', 'extend', 'summarize', 'order', 'take', 'top', 'distinct', 'join', 'union', 'count', 'mv-expand', 'render', 'search'].map((name) => ({ name, description: `The ${name} operator.` })),
};
