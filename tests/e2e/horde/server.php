<?php
// SPDX-License-Identifier: Apache-2.0
// An ActiveSync server made of Horde's library, for tests: users with one folder of contacts and one policy. A script for
// `php -S`. HORDE_ROOT: where the Debian packages are unpacked; HORDE_STATE: a folder for the state and contacts.json, a list of
// {"id", "first", "last", "changed"}: `changed` counts up and says which of them a client has seen; HORDE_PASSWORD: everybody's.

$root = getenv('HORDE_ROOT') . '/usr/share/php';
set_include_path($root);
spl_autoload_register(function ($class) {
    $path = stream_resolve_include_path(str_replace('_', '/', $class) . '.php');
    if ($path) {
        require_once $path;
    }
});
error_reporting(E_ALL & ~E_DEPRECATED & ~E_WARNING & ~E_NOTICE);  // the library is older than this PHP

// The library throws it where a logon fails, and leaves it to Horde's core, of which nothing else is needed.
class Horde_Exception_AuthenticationFailure extends Horde_Exception
{
}

class ContactsDriver extends Horde_ActiveSync_Driver_Base
{
    const FOLDER = 'contacts';

    private function contacts()
    {
        return json_decode(file_get_contents(getenv('HORDE_STATE') . '/contacts.json'));
    }

    private function contact($id)
    {
        foreach ($this->contacts() as $one) {
            if ($one->id == $id) {
                return $one;
            }
        }
        throw new Horde_Exception_NotFound();
    }

    public function authenticate($username, $password, $domain = null)
    {
        parent::authenticate($username, $password, $domain);
        return $password === getenv('HORDE_PASSWORD');
    }

    public function getUsernameFromEmail($email)
    {
        return $email;
    }

    public function getProvisioning()
    {
        return Horde_ActiveSync::PROVISIONING_FORCE;
    }

    public function getCurrentPolicy()
    {
        return array(Horde_ActiveSync_Policies::POLICY_PIN => true, Horde_ActiveSync_Policies::POLICY_MINLENGTH => 6);
    }

    public function getFolder($id)
    {
        if ($id != self::FOLDER) {
            throw new Horde_ActiveSync_Exception("no folder $id");
        }
        $folder = new Horde_ActiveSync_Message_Folder();
        $folder->serverid = $folder->_serverid = self::FOLDER;
        $folder->parentid = '0';
        $folder->displayname = 'People';
        $folder->type = Horde_ActiveSync::FOLDER_TYPE_CONTACT;
        return $folder;
    }

    public function getFolders()
    {
        return array($this->getFolder(self::FOLDER));
    }

    public function statFolder($id, $parent = 0, $mod = null)
    {
        return array('id' => $id, 'mod' => $mod ?: $id, 'parent' => $parent, 'serverid' => $id);
    }

    public function getFolderList()
    {
        return array($this->statFolder(self::FOLDER, '0', 'People'));
    }

    public function getSyncStamp($collection, $last = null)
    {
        return array_reduce($this->contacts(), function ($latest, $one) { return max($latest, $one->changed); }, 1);
    }

    public function getServerChanges($folder, $from_ts, $to_ts, $cutoffdate, $ping)
    {
        $changes = array();
        foreach ($this->contacts() as $one) {
            if ($one->changed > $from_ts && $one->changed <= $to_ts) {
                $changes[] = array('id' => $one->id, 'type' => Horde_ActiveSync::CHANGE_TYPE_CHANGE,
                                   'flags' => Horde_ActiveSync::FLAG_NEWMESSAGE);
            }
        }
        return $changes;
    }

    public function statMessage($folder, $id)
    {
        return array('id' => $id, 'mod' => $this->contact($id)->changed, 'flags' => 1);
    }

    public function getMessage($folder, $id, array $collection)
    {
        $one = $this->contact($id);
        $message = new Horde_ActiveSync_Message_Contact(
            array('protocolversion' => $this->_version, 'device' => $this->_device, 'logger' => $this->_logger));
        $message->firstname = $one->first;
        $message->lastname = $one->last;
        $message->fileas = "$one->last, $one->first";
        return $message;
    }

    // What no test asks for.
    public function deleteFolder($id, $parent = Horde_ActiveSync::FOLDER_ROOT) { throw new Horde_ActiveSync_Exception('no'); }
    public function changeFolder($id, $displayname, $parent, $uid = null) { throw new Horde_ActiveSync_Exception('no'); }
    public function moveMessage($folder, array $ids, $to) { return array(); }
    public function getSearchResults($type, array $query) { return array('rows' => array(), 'range' => '0-0'); }
    public function deleteMessage($folder, array $ids) { return array(); }
    public function getWasteBasket($class) { return false; }
    public function changeMessage($folder, $id, Horde_ActiveSync_Message_Base $message, $device) { return false; }
    public function setReadFlag($folder, $uid, $flag) { }
    public function sendMail($rfc822, $forward = false, $reply = false, $parent = false, $save = false,
                             Horde_ActiveSync_Message_SendMail $message = null) { return false; }
    public function getAttachment($name, array $options = array()) { return array(); }
    public function itemOperationsGetAttachmentData($reference) { return array(); }
    public function itemOperationsFetchMailbox($longid, array $bodyprefs, $mimesupport) { return false; }
    public function itemOperationsGetDocumentLibraryLink($linkid, $cred) { return array(); }
    public function statMailMessage($folder, $id) { return false; }
    public function getSpecialFolderNameByType($type) { return ''; }
    public function getSettings(array $settings, $device) { return array(); }
    public function setSettings(array $settings, $device) { return array(); }
    public function autoDiscover() { return array(); }
    public function resolveRecipient($type, $search, array $options = array()) { return array(); }
    public function meetingResponse(array $response) { return false; }
    public function getFreebusy($user, array $options = array()) { return false; }
}

class NoLog implements Horde_ActiveSync_Interface_LoggerFactory
{
    public function create($properties = array())
    {
        return new Horde_ActiveSync_Log_Logger(new Horde_Log_Handler_Null());
    }
}

function database()
{
    return new Horde_Db_Adapter_Pdo_Sqlite(array('dbname' => getenv('HORDE_STATE') . '/state.db', 'charset' => 'UTF-8'));
}

if (PHP_SAPI == 'cli') {  // once, before the server: the tables
    $migrator = new Horde_Db_Migration_Migrator(database(), null, array(
        'migrationsPath' => "$root/data/Horde_ActiveSync/migration", 'schemaTableName' => 'horde_activesync_schema'));
    $migrator->up();
    exit(0);
}

$state = new Horde_ActiveSync_State_Sql(array('db' => database()));
$driver = new ContactsDriver(array('state' => $state, 'ping' => array(
    'heartbeatmin' => 1, 'heartbeatmax' => 3540, 'heartbeatdefault' => 480, 'deviceping' => true, 'waitinterval' => 1)));
$request = new Horde_Controller_Request_Http();
$server = new Horde_ActiveSync(
    $driver, new Horde_ActiveSync_Wbxml_Decoder(fopen('php://input', 'r')),
    new Horde_ActiveSync_Wbxml_Encoder(fopen('php://output', 'w+')), $state, $request);
$server->setLogger(new NoLog());
$server->setSupportedVersion(Horde_ActiveSync::VERSION_FOURTEENONE);
ob_start();
try {
    $type = $server->handleRequest($_SERVER['REQUEST_METHOD'] == 'OPTIONS' ? 'Options' : null, null);
    if (is_string($type)) {
        header("Content-Type: $type");
    }
} catch (Horde_Exception_AuthenticationFailure $e) {
    http_response_code(401);
    header('WWW-Authenticate: Basic realm="Horde"');
    header('WWW-Authenticate: Negotiate', false);
} catch (Horde_ActiveSync_Exception_InvalidRequest $e) {
    error_log($e);
    http_response_code(400);
} catch (Throwable $e) {
    error_log($e);
    http_response_code(500);
}
header('Content-Length: ' . ob_get_length());
ob_end_flush();
