"""Questions that refer to a text which who reads the question does not see: "this function", "im obigen Beispiel".

One entry a language, of the forms that generators write and their like. The table is not complete: a language without
an entry, and a wording that nobody thought of, pass. The patterns read lower case in NFKC (words.one_form). A word for
a text counts after "in the" only where it ends there: "in the context window" and "im Text von Satz 3" name things.
"""

import re

_SEEN = (  # what can be pointed at with "this" and "above"
    "function|method|class|example|case|text|context|passage|paragraph|document|documentation|code|section|fact|"
    "statement|article|snippet|excerpt|chunk|page|paper|study|information|output|table|figure|image|list|sentence"
)
_READ = "text|context|passage|paragraph|document|fact|statement|article|snippet|excerpt|chunk|page|paper"
_ENDS = r"(?=\s*(?:[,.?!:;)]|$)|\s+(?:is|are|was|were|does|do|did|what|which|who|how|why|when|where|above|below|here|"
_ENDS += r"provided|given|about|as)\b)"

_TABLE = {
    "english": (
        rf"\b(this|that|these|those|the (above|below|following|given|provided|preceding|previous|current)) "
        rf"({_SEEN})s?\b",
        rf"\b(according to|based on|in|from|by|on) (the|(the )?(given|provided)) ({_READ}){_ENDS}",
        rf"\b(do|does|did|is|are|can) the ({_READ}) (say|tell|mention|describe|state|explain|discuss|give|call)",
        rf"\bthe ({_READ}) (says|tells|mentions|describes|states|explains|discusses|gives|calls)\b",
        r"\b(mentioned|described|stated|given|shown|listed|provided|discussed) (above|below|here\b)",
        rf"\b(mentioned|described|stated|given|shown|listed|provided|discussed) in the ({_READ}){_ENDS}",
        rf"\b({_SEEN})s? (above|below)\b|\b(above|below)\?$|\bof the following\b",
        rf"\b(the|a) (given|provided|following|above) (\w+ ){{1,2}}({_SEEN})s?\b",
        r"\bthe (code |example |text )?(snippet|excerpt)s?\b|\b(in|by|from) the (example )?(guide|tutorial|notebook)"
        rf"{_ENDS}|\bof the (passage|excerpt|snippet)\b|\bthe (thing|concept|name|rule) that the (passage|text)\b",
    ),
    "german": (
        r"\b(diese|jene)[rsmn]? (text|abschnitt|absatz|satz|auszug|artikel|kontext|beispiel|codes?\b|dokument|seite|"
        r"passage|funktion|methode|klasse|tabelle|abbildung)",
        r"\b(obig|vorliegend|nachfolgend|folgend|vorstehend|genannt|gegeben|angegeben|bereitgestellt|vorherig)e[rnsm]? "
        r"(text|abschnitt|absatz|satz|auszug|artikel|kontext|beispiel|code|dokument|seite|passage|funktion|methode|"
        r"klasse|tabelle|abbildung)",
        r"\b(im|laut|gemäß|aus|vom|laut dem|nach dem|in dem|in der|laut der|aus dem) (text|textauszug|textabschnitt|"
        r"abschnitt|absatz|auszug|artikel|kontext|dokument|passage|textpassage)(?=\s*[,.?]|\s+(\w+t|werden)\b|\s+\w+en\s*\?)",
        r"\b(sagt|steht|erwähnt|beschreibt|nennt|erklärt|behandelt|besagt) (der|die|das|im|in der|in dem) (text|"
        r"abschnitt|absatz|auszug|artikel|kontext|dokument|passage|textpassage|textabschnitt)\b",
        r"\b(oben|unten|hier|darin) (genannt|erwähnt|beschrieben|gezeigt|angegeben|angeführt|aufgeführt)",
    ),
    "dutch": (
        r"\b(deze|dit|die|dat|bovenstaande|onderstaande|gegeven) (tekst|passage|alinea|document|functie|methode|klasse|"
        r"voorbeeld|code|sectie|pagina|artikel|fragment)\b",
        r"\b(in|volgens|uit) (de|het) (tekst|passage|alinea|fragment)\b|\bhierboven\b",
        r"\b(zegt|vermeldt|beschrijft|noemt) (de|het) (tekst|passage|alinea|fragment|document)\b",
    ),
    "spanish": (
        r"\b(este|esta|estos|estas|ese|esa|dicho|dicha) (texto|pasaje|párrafo|fragmento|extracto|artículo|documento|"
        r"función|método|clase|ejemplo|código|sección|página|contexto|oración|tabla|figura)\b",
        r"\b(en|según|del|de|por|con) (el )?(texto|pasaje|párrafo|fragmento|extracto|artículo|contexto)\b(?! de)",
        r"\b(dice|menciona|describe|explica|indica|señala|afirma) (el|la) (texto|pasaje|párrafo|fragmento|extracto|"
        r"artículo|documento|contexto)\b",
        r"\b(ejemplo|texto|código|párrafo|pasaje|función|sección|tabla) (anterior|siguiente|de arriba|de abajo)\b",
        r"\b(mencionad|descrit|indicad|mostrad|dad|citad)[oa]s? (arriba|anteriormente|más arriba|aquí)\b",
    ),
    "portuguese": (
        r"\b(est[ea]|esse|essa|n?est[ea]|ness[ea]|dest[ea]|dess[ea]) (texto|passagem|parágrafo|trecho|artigo|documento|"
        r"função|método|classe|exemplo|código|seção|página|contexto|frase|tabela|figura)\b",
        r"\b(no|do|segundo o|na|da|segundo a) (texto|passagem|parágrafo|trecho)\b(?! d[eoa])",
        r"\b(diz|menciona|descreve|explica|afirma) [oa] (texto|passagem|parágrafo|trecho|artigo|documento)\b",
        r"\b(acima|exemplo anterior|texto anterior)\b",
    ),
    "italian": (
        r"\b(quest[oaie]|quell[oaie]|quel) (testo|brano|passaggio|paragrafo|articolo|documento|funzione|metodo|classe|"
        r"esempio|codice|sezione|pagina|contesto|frase|tabella|figura)\b",
        r"\b(nel|del|dal|secondo il|in base al) (testo|brano|passaggio|paragrafo)\b(?! d[ei])",
        r"\b(dice|menziona|descrive|spiega|afferma) il (testo|brano|passaggio|paragrafo|documento)\b",
        r"\b(sopra|soprastante|esempio precedente|qui sopra)\b",
    ),
    "french": (
        r"\b(ce|cet|cette|ces) (texte|passage|paragraphe|extrait|article|document|fonction|méthode|classe|exemple|code|"
        r"section|page|contexte|phrase|tableau|figure)\b",
        r"\b(dans|selon|d'après|de|par) (le |la |l')(texte|passage|paragraphe|extrait|article|contexte)\b"
        r"(?! (d[eu]|des)\b| d')",
        r"\b(dit|mentionne|décrit|explique|indique|affirme) (le |la |l')(texte|passage|paragraphe|extrait|article|"
        r"document)\b",
        r"\b(le |la |l')(texte|passage|paragraphe|extrait) (dit|mentionne|décrit|explique|indique)\b",
        r"\b(ci-dessus|ci-dessous|ci-après|exemple précédent|plus haut)\b",
    ),
    "polish": (
        r"\b(ten|tego|tym|ta|tej|to|powyższ\w+|podan\w+) (tekst\w*|fragment\w*|akapi\w+|dokumen\w+|funkcj\w+|"
        r"przykład\w*|kod\w*|sekcj\w+|artykuł\w*)",
        r"\b(w|według|z) (tekście|tekstu|fragmencie|fragmentu|akapicie)\b|\bpowyżej\b",
    ),
    "turkish": (
        r"\b(bu|şu|yukarıdaki|aşağıdaki|verilen) (metin|metn|paragra|pasaj|belge|fonksiyon|örne|kod|bölüm|makale|"
        r"sayfa)",
        r"\b(metinde|metne göre|paragrafta|parçada|parçaya göre|pasajda)\b",
    ),
    "russian": (
        r"\b(эт|данн|привед[её]нн|вышеприведенн|вышеуказанн|следующ|предыдущ|указанн)\w+ (текст|отрыв|абзац|документ|"
        r"функци|метод|класс|пример|код|раздел|страниц|контекст|стать|фрагмент|предложени|таблиц)",
        r"\b(в|из|согласно) (тексте|текста|тексту|отрывке|отрывка|отрывку|абзаце|фрагменте|статье)"
        r"(?=\s*[,.?]|\s+(говор|упомин|сказан|описыв|указ))",
        r"\b(говорится|сказано|упоминается|описано|указано|упомянуто) (в|во|выше)\b|\bвыше(указ|упом|прив|опис)",
    ),
    "greek": (
        r"\b(αυτό|αυτή|αυτού|αυτής|αυτήν|το παραπάνω|η παραπάνω) (το |η |την |του |της |τη )?(κείμενο|απόσπασμα|"
        r"παράγραφο|έγγραφο|συνάρτηση|παράδειγμα|κώδικα)",
        r"\bσύμφωνα με το (κείμενο|απόσπασμα)|\bστο (κείμενο|απόσπασμα)\b|παραπάνω",
    ),
    "arabic": (
        r"(هذا|هذه|ذلك|تلك) (النص|المقطع|الفقرة|المستند|الوثيقة|الدالة|المثال|القسم|المقال|الصفحة|السياق|الكود)",
        r"(في|حسب|وفقا ل|وفقًا ل|من) ?(النص|لنص|المقطع|لمقطع|الفقرة|لفقرة|المقال)"
        r"(?=\s*[؟،.]|\s+(عن|أعلاه|السابق|المذكور))",
        r"(يقول|يذكر|يصف|تقول|تذكر|ذكر) (النص|المقطع|الفقرة|المقال)|أعلاه|المثال السابق",
    ),
    "hindi": (
        r"(इस|उस|उपरोक्त|दिए गए|निम्नलिखित|ऊपर दिए) (पाठ|गद्यांश|अनुच्छेद|दस्तावेज़|फ़ंक्शन|फंक्शन|उदाहरण|लेख|कोड|खंड|पृष्ठ|संदर्भ)",
        r"(गद्यांश|अनुच्छेद|पाठ) (में|के अनुसार)|उपरोक्त",
    ),
    "chinese": (
        r"[这這那该該此本上述](个|個|段|篇|份|节|節|张|張|些|项|項)?(文本|文章|文档|文檔|文件|段落|短文|材料|函数|函數|方法|例子|示例|"
        r"范例|範例|代码|程式碼|章节|章節|页面|頁面|上下文|内容|內容|句子|表格|图表|圖表)",
        r"[这這那](个|個)(类|類)|[这這](段|篇)[话話文]|[本此](文|段|节|節|页|頁)(?!件|档|檔|字|化|献|献|学|學|落)",
        r"(?<![中英日韩韓德法俄全语語])文中|(文章|文本|段落|短文|文档|文檔)(中|里|裡|說|说|提到|介绍|介紹|描述)",
        r"上述|上文|如上|(?<!上)下文|(上面|下面|以上|以下)(的|给|給|哪|这|這|文|代码|例|示)|根[据據](上下文|文章|文本|段落|短文|材料)",
    ),
    "japanese": (
        r"(この|その|あの|上の|下の|次の|与えられた)(文章|文|テキスト|段落|記事|文書|ドキュメント|関数|メソッド|クラス|例|コード|セクション|ページ|"
        r"文脈|図|表)(?!字|化|書館)",
        r"本文(中|内|で|に|によ|の|は)|(文章|テキスト|記事|段落|文脈)(中|内|によると|によれば|では|には|で述べ|に書)|上記|前述|下記",
    ),
    "korean": (
        r"(?<!\w)(이|그|위|위의|다음|아래|아래의|주어진|해당|본) ?(글|텍스트|본문|문서|문단|단락|구절|기사|"
        r"함수|메서드|클래스|예제|예시|코드|섹션|페이지|문맥|문장)",
        r"(본문|지문|텍스트|글|단락)(에서|에 따르면|에 의하면)",
    ),
}
_REFERS = re.compile("|".join(f"(?:{pattern})" for patterns in _TABLE.values() for pattern in patterns))


def refers_to_unseen(text: str) -> bool:
    """Whether a question, in one form (words.one_form), points to a text that is not there, as the table goes."""
    return bool(_REFERS.search(text))
