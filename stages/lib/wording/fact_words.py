"""Words whose change changes a statement, in a few languages. A language that is absent is left to the judge."""

_ENGLISH = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion dozen
first second third fourth fifth sixth seventh eighth ninth tenth last final half quarter single double triple once twice
thrice both either neither per each every all any some few many most several much more less least fewer
not no never none nothing nobody nor without cannot except unless only excluding including unlike instead
true false yes on off in out up down before after until since above below over under between left right top bottom
front back inside outside internal external always often sometimes rarely seldom usually
must may might can could should shall will would required optional mandatory allowed forbidden permitted prohibited
minimum maximum min max lower higher upper greater smaller larger smallest largest shorter longer shortest longest
faster slower low high small large short long fast slow early late earlier later ascending descending
increase decrease increases decreases increasing decreasing rise fall enable disable enables disables enabled disabled
add remove adds removes added removed start stop starts stops begin end begins ends open close opens closes
input output inputs outputs row column rows columns train test training validation encoder decoder source target
positive negative old new current previous next deprecated stable same different equal unequal
success failure pass fail passes fails succeed public private read write client server local remote
second seconds minute minutes hour hours day days week weeks month months quarter year years decade century
daily weekly monthly yearly annually hourly bit bits byte bytes kilobyte megabyte gigabyte percent degrees
meter meters metre metres kilometer kilometers mile miles inch inches gram grams kilogram kilograms pound pounds
dollar dollars euro euros cent cents
monday tuesday wednesday thursday friday saturday sunday
january february march april may june july august september october november december
spring summer autumn winter morning noon evening night north south east west
black white red green blue yellow orange purple brown grey gray
"""
_GERMAN = """
null ein eins eine einen einer einem zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig
dreissig hundert tausend million millionen milliarde milliarden dutzend halb halbe hälfte viertel doppelt dreifach
einmal zweimal dreimal erste ersten erster zweite zweiten dritte dritten letzte letzten
nicht kein keine keinen keiner keinem nie niemals nichts niemand weder ohne außer nur sondern
ja nein wahr falsch vor nach bis seit über unter zwischen links rechts oben unten innen außen immer manchmal selten oft
muss müssen darf dürfen kann können soll sollen sollte mindestens höchstens minimal maximal mehr weniger
größer kleiner höher niedriger länger kürzer schneller langsamer hoch niedrig groß klein lang kurz
alle jede jeder jedes einige viele wenige beide
sekunde sekunden minute minuten stunde stunden tag tage tagen woche wochen monat monate monaten jahr jahre jahren
montag dienstag mittwoch donnerstag freitag samstag sonnabend sonntag
januar februar märz april mai juni juli august september oktober november dezember
"""
_FRENCH = """
zéro un une deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize vingt trente quarante
cinquante soixante septante quatre-vingts nonante cent mille million millions milliard demi double triple premier
première second seconde deuxième troisième dernier dernière ne pas non jamais rien aucun aucune sans sauf seulement ni
oui vrai faux avant après jusque depuis sur sous entre gauche droite haut bas toujours souvent parfois rarement
doit doivent peut peuvent minimum maximum moins plus tous toutes chaque
secondes minute minutes heure heures jour jours semaine semaines mois an ans année années
lundi mardi mercredi jeudi vendredi samedi dimanche
janvier février mars avril mai juin juillet août septembre octobre novembre décembre
"""
_SPANISH = """
cero uno una dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince veinte treinta cuarenta
cincuenta sesenta setenta ochenta noventa cien ciento mil millón millones medio doble triple primero primera segundo
segunda tercero tercera último última no nunca jamás nada ningún ninguna sin salvo solo sólo ni sí verdadero falso
antes después hasta desde sobre bajo entre izquierda derecha arriba abajo siempre
debe deben puede pueden mínimo máximo más menos todos todas cada
segundos minuto minutos hora horas día días semana semanas mes meses año años
lunes martes miércoles jueves viernes sábado domingo
enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
"""
_ITALIAN_PORTUGUESE_DUTCH = """
due tre quattro cinque sei sette otto nove dieci undici dodici venti trenta quaranta cinquanta sessanta settanta
ottanta novanta cento mille milione non mai niente nessuno nessuna senza tranne solo prima dopo sempre giorno giorni
settimana settimane mese mesi anno anni ore ora minuti secondi
um uma dois duas três quatro sete oito nove dez onze doze vinte trinta quarenta cinquenta sessenta setenta oitenta
noventa cem mil milhão não nunca nenhum nenhuma sem antes depois sempre dia dias semana mês meses ano anos
een twee drie vier vijf zes zeven acht negen tien elf twaalf twintig dertig veertig vijftig zestig zeventig tachtig
negentig honderd duizend niet geen nooit zonder voor na altijd dag dagen week weken maand maanden jaar jaren
"""
_RUSSIAN = """
ноль один одна два две три четыре пять шесть семь восемь девять десять двадцать тридцать сорок пятьдесят шестьдесят
семьдесят восемьдесят девяносто сто тысяча миллион не нет ни никогда без кроме только до после всегда
день дня дней неделя недель месяц месяца месяцев год года лет час часов минут секунд
"""

FACT_WORDS = frozenset(" ".join((_ENGLISH, _GERMAN, _FRENCH, _SPANISH, _ITALIAN_PORTUGUESE_DUTCH, _RUSSIAN)).split())
# Those that say another thing whatever stands in their place, also nothing.
NEGATIONS = frozenset(
    """
    not no never none nothing nobody nor neither without cannot except unless only excluding including unlike
    nicht kein keine keinen keiner keinem nie niemals nichts niemand weder ohne außer nur
    pas non jamais rien aucun aucune sans sauf seulement ni nunca jamás nada ningún ninguna sin salvo solo sólo
    mai niente nessuno nessuna senza tranne não nenhum nenhuma sem niet geen nooit zonder
    не нет ни никогда без кроме только
    """.split()
)
# Chinese and Japanese: what negates or turns over, and units of time. Numerals are known by Unicode.
NEGATING_CHARACTERS = frozenset("不没沒無无未非否别勿")
FACT_CHARACTERS = NEGATING_CHARACTERS | frozenset("上下前后後左右内外大小多少高低长短長短日天周週月年时時分秒元")
NUMBER_ENDINGS = ("zig", "ßig", "zehn", "hundert", "tausend")  # German numbers in one word
OPPOSITE_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti", "über", "unter", "a", "des")
