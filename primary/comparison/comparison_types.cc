#include "primary/comparison/comparison_types.h"

namespace romulus::comparison {

absl::string_view ToString(DifferenceReason reason) {
  switch (reason) {
    case DifferenceReason::kContent:
      return "content";
    case DifferenceReason::kFlags:
      return "flags";
    case DifferenceReason::kOptions:
      return "options";
    case DifferenceReason::kSequence:
      return "sequence";
    case DifferenceReason::kUrgent:
      return "urgent";
    case DifferenceReason::kPacket:
      return "packet";
    case DifferenceReason::kPrimaryOnly:
      return "primary_only";
    case DifferenceReason::kStandbyOnly:
      return "standby_only";
    case DifferenceReason::kBound:
      break;
  }
  return "bound";
}

}  // namespace romulus::comparison
