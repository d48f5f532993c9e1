#ifndef ROMULUS_COMMON_LINK_OBSERVER_SLOT_H_
#define ROMULUS_COMMON_LINK_OBSERVER_SLOT_H_

namespace romulus {

// Whom a session's posted callbacks reach. Used on the scheduler's thread only: what was posted before the owner closed
// or destroyed its link finds the slot changed when it runs.
template <typename Observer>
class ObserverSlot {
 public:
  void Set(Observer* observer) { observer_ = observer; }
  void Clear() { observer_ = nullptr; }
  // Only OnClosed is still wanted.
  void Mute() { muted_ = true; }

  // Null: nobody wants it any more.
  Observer* ForCall() const { return muted_ ? nullptr : observer_; }
  // The last call ever.
  Observer* ForClosed() {
    Observer* const observer = observer_;
    observer_ = nullptr;
    return observer;
  }

 private:
  Observer* observer_ = nullptr;
  bool muted_ = false;
};

}  // namespace romulus

#endif  // ROMULUS_COMMON_LINK_OBSERVER_SLOT_H_
