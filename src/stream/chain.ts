/** A member of one chain at a time. */
export class Link<Self extends Link<Self>> {
  before: Self | undefined;
  after: Self | undefined;
}

/** A queue that anybody may leave from anywhere, at the same small cost. */
export class Chain<Member extends Link<Member>> {
  first: Member | undefined;
  private last: Member | undefined;

  push(member: Member): void {
    member.before = this.last;
    if (this.last === undefined) this.first = member;
    else this.last.after = member;
    this.last = member;
  }

  /** Takes out a member of this chain. */
  remove(member: Member): void {
    const { before, after } = member;
    if (before === undefined) this.first = after;
    else before.after = after;
    if (after === undefined) this.last = before;
    else after.before = before;
    member.before = member.after = undefined;
  }
}
