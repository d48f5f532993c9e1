#include "common/attachments/event_ports.h"

#include "gtest/gtest.h"

namespace romulus {
namespace {

using replication::v1::GuestAttachments;
using Port = GuestAttachments::Port;

void Add(GuestAttachments& to, uint32_t number, Port::Kind kind, uint32_t argument, uint32_t vcpu) {
  Port* port = to.add_ports();
  port->set_port(number);
  port->set_kind(kind);
  port->set_argument(argument);
  port->set_vcpu(vcpu);
}

GuestAttachments Guest() {
  GuestAttachments guest;
  Add(guest, 1, Port::REMOTE, 0, 0);
  Add(guest, 3, Port::VIRQ, 0, 0);
  Add(guest, 4, Port::IPI, 0, 1);
  return guest;
}

TEST(EventPorts, AreEqualWhereTheGuestCanTellNoDifference) {
  EXPECT_EQ(PortDifference(Guest(), Guest()), "");
  EXPECT_EQ(PortDifference({}, {}), "");
}

TEST(EventPorts, AnyOtherDifferenceIsNamed) {
  GuestAttachments more = Guest();
  Add(more, 7, Port::REMOTE, 0, 0);
  EXPECT_EQ(PortDifference(more, Guest()),
            "the guest's event channel 7 is a channel to domain 0 on the primary, and closed here");
  EXPECT_NE(PortDifference(Guest(), more), "");
  const auto changed = [](int index, auto change) {
    GuestAttachments guest = Guest();
    change(*guest.mutable_ports(index));
    return PortDifference(Guest(), guest);
  };
  EXPECT_NE(changed(0, [](Port& port) { port.set_argument(2); }), "") << "another domain";
  EXPECT_NE(changed(0, [](Port& port) { port.set_kind(Port::IPI); }), "");
  EXPECT_NE(changed(1, [](Port& port) { port.set_argument(1); }), "") << "another virtual interrupt";
  EXPECT_NE(changed(2, [](Port& port) { port.set_vcpu(0); }), "") << "on another vCPU";
  EXPECT_NE(changed(2, [](Port& port) { port.set_port(5); }), "") << "at another port";
}

}  // namespace
}  // namespace romulus
