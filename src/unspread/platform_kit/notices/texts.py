"""What people read about a notice. Facts, not advice."""

from typing import Final

from unspread.platform_kit.notices.rules import Lack, Need, Status, Step

NEEDS: Final = {
    Need.SIGNATURE: "Your signature",
    Need.LOCATION: "Where it is",
    Need.GOOD_FAITH: "The good-faith statement",
    Need.CONTACT: "How to reach you",
}

LACKS: Final = {
    Lack.MISSING: "This is missing.",
    Lack.NO_ADDRESS: "This is not a web address that starts with https://. Copy it from the "
    "browser's address bar.",
    Lack.ELSEWHERE: "An address is not on this platform. Each platform has to be asked itself.",
    Lack.NOT_STATED: "The statement has to be ticked.",
    Lack.UNREACHABLE: "This is neither an e-mail address, nor a telephone number, nor a postal "
    "address.",
    Lack.NO_RELATION: "Say by what right you sign for the person shown.",
    Lack.NOT_FOUND: "Somebody looked and could not find it with what was given. An exact address "
    "helps, or a description of where on the page it is.",
}

STATUSES: Final = {
    Status.INCOMPLETE: "Something is lacking, so the 48 hours do not run.",
    Status.OPEN: "Complete. The platform has until the deadline to remove it.",
    Status.REMOVED: "Removed.",
    Status.DECLINED: "Looked at, and left in place.",
    Status.WITHDRAWN: "You withdrew it.",
    Status.RESTORED: "Removed first, and shown again after an appeal.",
}

STEPS: Final = {
    Step.RECEIVED: "Received",
    Step.COMPLETED: "Sent again with what was lacking",
    Step.FOUND_INCOMPLETE: "The platform asked for more",
    Step.REMOVED: "Removed",
    Step.DECLINED: "Declined",
    Step.WITHDRAWN: "Withdrawn",
    Step.APPEALED: "Who sent the notice appealed",
    Step.POSTER_APPEALED: "Who posted it appealed",
    Step.APPEAL_ANSWERED: "The decision stands after the appeal",
    Step.RESTORED: "Shown again after an appeal",
}
