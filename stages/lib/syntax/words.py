"""Words that decide what a sentence can be asked for."""

MARKS = frozenset("because if when whenever unless once until while that so since as although though whether".split())
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December|century"
SAYING = frozenset(
    """believe argue suggest show find claim state propose think assume demonstrate conclude ensure indicate note report
    discover reveal hold maintain predict declare require guarantee mean""".split()
)
# What tells how, which or whether something is
SHOWING = frozenset("control determine specify define decide indicate measure show describe explain check set".split())
LETTING = frozenset("allow enable let help require encourage force lead cause permit".split())
MEANT = frozenset("design intend build require expect need train fine-tune".split())
DEMONSTRATIVES = frozenset("this that these those such".split())
CAUSING = frozenset("cause trigger produce create increase reduce prevent improve affect influence".split())
LIGHT = frozenset(
    "have do make take give get see need want let include be become play try keep use call find bear".split()
)
BEGINNING = frozenset("begin start respond react continue go come end".split())  # how, or why, says little alone
# Before the name of what something is done with, in the passive
PASSIVE = frozenset("in into within on onto with for from as to under through over by".split())
PEOPLE = frozenset(
    """people researchers psychologists scientists men man women woman person children students users workers activists
    adults americans artists authors businessmen citizens colonists critics delegates developers diplomats doctors
    employees employers engineers farmers fathers historians immigrants infants judges laborers lawyers leaders mothers
    officers officials owners parents participants patients politicians reformers settlers sociologists soldiers
    supporters teachers theorists therapists troops voters writers""".split()
)
THINKING = frozenset("believe think feel say write argue".split())  # what people alone do
WRITING = frozenset("contribute write author lead".split())  # what people do by themselves
PLANS = frozenset("decision attempt effort plan proposal".split())  # "the decision was made to build ...": no purpose
PLACED = frozenset("access find store save locate download host place cache keep record".split())
NOT_COUNTED = frozenset(
    "way lot one example role part place percent % years year months month days day hours times dollars".split()
)
# Verb or adjective, and the preposition whose object it takes
TAKING = frozenset(
    tuple(pair.split("-"))
    for pair in """consist-of depend-on refer-to result-in lead-to belong-to base-on focus-on rely-on contribute-to
    differ-from responsible-for similar-to associate-with derive-from define-as divide-into compose-of make-of stand-for
    use-for use-as know-as come-from design-for train-on specialize-in deal-with apply-to equal-to arise-from stem-from
    respond-to compatible-with available-in available-for aware-of capable-of concern-with turn-into serve-as pass-to
    map-to correspond-to connect-to convert-to limit-to influence-by inspire-by evaluate-on regard-as
    useful-for useful-in suited-for suitable-for identical-to equivalent-to incompatible-with""".split()
)
