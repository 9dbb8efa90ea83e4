package iot

import (
	"github.com/otus-project/otus/event"
)

// entity is an iotdevice entity of the column Entities; the order of its keys is the order of these fields.
type entity struct {
	Type            string   `json:"Type"`
	DeviceID        string   `json:"DeviceId"`
	DeviceName      string   `json:"DeviceName"`
	DeviceType      string   `json:"DeviceType"`
	Source          string   `json:"Source"`
	Manufacturer    string   `json:"Manufacturer,omitempty"`
	Model           string   `json:"Model,omitempty"`
	FirmwareVersion string   `json:"FirmwareVersion,omitempty"`
	SerialNumber    string   `json:"SerialNumber,omitempty"`
	OperatingSystem string   `json:"OperatingSystem,omitempty"`
	IPAddress       *address `json:"IpAddress,omitempty"`
	MACAddress      string   `json:"MacAddress,omitempty"`
	Nics            []nic    `json:"Nics,omitempty"`
	Protocols       []string `json:"Protocols"`
	Site            string   `json:"Site"`
	Zone            string   `json:"Zone"`
	Sensor          string   `json:"Sensor"`
	Owners          []string `json:"Owners"`
	PurdueLayer     string   `json:"PurdueLayer,omitempty"`
	Importance      string   `json:"Importance"`
	IsProgramming   bool     `json:"IsProgramming"`
	IsAuthorized    bool     `json:"IsAuthorized"`
	IsScanner       bool     `json:"IsScanner"`
	DevicePageLink  link     `json:"DevicePageLink"`
}

type address struct {
	Type    string `json:"Type"`
	Address string `json:"Address"`
}

type nic struct {
	Type       string   `json:"Type"`
	IPAddress  *address `json:"IpAddress,omitempty"`
	MACAddress string   `json:"MacAddress,omitempty"`
}

type link struct {
	Type string `json:"Type"`
	URL  string `json:"Url"`
}

// maxNics bounds the interfaces written per device.
const maxNics = 16

// entities lists the devices of an alert; for traffic of unknown devices, their addresses.
func entities(w Workspace, e *event.Entry) []any {
	a := e.Record.Alert
	all := []any{}
	for i := range a.Devices {
		all = append(all, deviceEntity(w, e, &a.Devices[i]))
	}
	if len(all) > 0 {
		return all
	}
	for _, side := range []*event.Endpoint{a.Source, a.Destination} {
		if side != nil && side.Address != "" {
			all = append(all, address{Type: "ip", Address: side.Address})
		}
	}
	return all
}

func deviceEntity(w Workspace, e *event.Entry, d *event.Device) entity {
	out := entity{
		Type: "iotdevice", DeviceID: d.ID, DeviceName: d.Name, DeviceType: d.Type, Source: VendorName,
		Manufacturer: d.Vendor, Model: d.Model, FirmwareVersion: d.FirmwareVersion, SerialNumber: d.SerialNumber,
		OperatingSystem: d.OperatingSystem, Protocols: filled(d.Protocols),
		Site: e.Place.Site, Zone: e.Place.Zone, Sensor: sensorName(e), Owners: owners(e, d.ID),
		PurdueLayer: d.PurdueLevel, Importance: d.Importance,
		IsProgramming: d.Programming, IsAuthorized: d.Authorized, IsScanner: d.Scanner,
		DevicePageLink: link{Type: "url", URL: w.BaseURL + "/devices/" + d.ID},
	}
	if out.DeviceName == "" && len(d.IPAddresses) > 0 {
		out.DeviceName = addressText(d.IPAddresses[0])
	}
	if out.Importance == "" {
		out.Importance = "Normal"
	}
	if len(d.IPAddresses) > 0 {
		out.IPAddress = &address{Type: "ip", Address: addressText(d.IPAddresses[0])}
	}
	if len(d.MACAddresses) > 0 {
		out.MACAddress = d.MACAddresses[0]
	}
	for i := 0; i < min(max(len(d.IPAddresses), len(d.MACAddresses)), maxNics); i++ {
		n := nic{Type: "nic"}
		if i < len(d.IPAddresses) {
			n.IPAddress = &address{Type: "ip", Address: addressText(d.IPAddresses[i])}
		}
		if i < len(d.MACAddresses) {
			n.MACAddress = d.MACAddresses[i]
		}
		out.Nics = append(out.Nics, n)
	}
	return out
}
