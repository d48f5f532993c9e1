#ifndef ROMULUS_COMMON_LINK_SESSION_ACCEPTOR_H_
#define ROMULUS_COMMON_LINK_SESSION_ACCEPTOR_H_

#include <memory>

#include "common/link/replication_link.h"
#include "proto/replication/v1/replication.pb.h"

namespace romulus {

// Who decides about new sessions on the secondary. Called on the scheduler's thread.
class SessionAcceptor {
 public:
  virtual ~SessionAcceptor() = default;

  // A primary has opened a session. `open` is its first message, with open_session set, a protection name, a generation
  // above 0 and times within bounds; nothing else of it is checked. Calls link->Start and keeps the link (it answers
  // SessionAccepted or Close(why not) then or later), or lets it go, which ends the call with UNAVAILABLE.
  virtual void OnSession(const replication::v1::PrimaryMessage& open, std::unique_ptr<SecondaryLink> link) = 0;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_SESSION_ACCEPTOR_H_
